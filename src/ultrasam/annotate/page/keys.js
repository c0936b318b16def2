// All keys in one table: what they do here, in the help, and in the tips of the buttons.

import { dialogOpen } from "./dialogs.js";
import { make } from "./dom.js";
import { held, setCursor } from "./pointer.js";
import { state } from "./state.js";
import { tool } from "./tools.js";
import { canvas } from "./view.js";

/**
 * `where`: "canvas" only while the image has the keyboard (or nothing has); "pointer" only while the keyboard pointer is on;
 * "hand" is said in the help only: a mouse or a key that is held. `shown` is a shorter text for many keys. `repeats`: a key that
 * is held down does it again and again; of any other, only the first press counts.
 * @typedef {{keys: string[], shown?: string, does: string, action: string, where?: "canvas"|"pointer"|"hand", repeats?: true}} Binding
 */

/** @type {{title: string, bindings: Binding[]}[]} */
export const KEYS = [
  {
    title: "Mouse and touch",
    bindings: [
      { keys: ["Click"], does: "Add to the object", action: "", where: "hand" },
      { keys: ["Right-click", "Alt+Click"], does: "Take away from the object", action: "", where: "hand" },
      { keys: ["Drag"], does: "Box around the object", action: "", where: "hand" },
      { keys: ["Ctrl+Click"], does: "Choose the object under the pointer", action: "", where: "hand" },
      { keys: ["Wheel", "Pinch"], does: "Zoom", action: "", where: "hand" },
      {
        keys: ["Space+Drag", "Middle button", "Two fingers"],
        does: "Move the image",
        action: "",
        where: "hand",
      },
      { keys: ["W+Drag"], does: "Window (left, right) and level (up, down)", action: "", where: "hand" },
    ],
  },
  {
    title: "Tools",
    bindings: [
      { keys: ["A"], does: "Click", action: "tool-click" },
      { keys: ["B"], does: "Box", action: "tool-box" },
      { keys: ["D"], does: "Calliper: two diameters", action: "tool-calliper" },
      { keys: ["R"], does: "Brush", action: "tool-brush" },
      { keys: ["E"], does: "Eraser", action: "tool-eraser" },
      { keys: ["G"], does: "Polygon", action: "tool-polygon" },
      { keys: ["H"], does: "Pan", action: "tool-pan" },
      { keys: ["[", "]"], does: "Smaller or larger brush", action: "brush", repeats: true },
      { keys: ["Enter"], does: "Close the polygon (with Alt: cut it out)", action: "", where: "hand" },
      { keys: ["Esc"], does: "Forget what is half drawn", action: "escape" },
      { keys: ["X"], does: "Clicks and polygons: add or take away", action: "mode" },
      { keys: ["P"], does: "Preview under the pointer on or off", action: "preview" },
    ],
  },
  {
    title: "Objects",
    bindings: [
      { keys: ["N"], does: "New object", action: "new" },
      { keys: ["Tab"], does: "Next object", action: "object-next", where: "canvas", repeats: true },
      {
        keys: ["Shift+Tab"],
        does: "Previous object",
        action: "object-previous",
        where: "canvas",
        repeats: true,
      },
      {
        keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"],
        shown: "1 … 9",
        does: "Class of the object",
        action: "class",
      },
      { keys: ["Y"], does: "This mask is right as it is", action: "accept" },
      { keys: ["Delete"], does: "Delete on this frame", action: "delete" },
      { keys: ["Shift+Delete"], does: "Delete on all frames", action: "delete-all" },
      { keys: ["V"], does: "Show or hide all masks", action: "masks" },
    ],
  },
  {
    title: "Steps",
    bindings: [
      { keys: ["Ctrl+Z"], does: "Undo", action: "undo", repeats: true },
      { keys: ["Ctrl+Shift+Z", "Ctrl+Y"], does: "Redo", action: "redo", repeats: true },
    ],
  },
  {
    title: "Frames and scans",
    bindings: [
      { keys: ["Left", ","], does: "Previous frame", action: "frame-previous", repeats: true },
      { keys: ["Right", "."], does: "Next frame", action: "frame-next", repeats: true },
      { keys: ["Shift+Left"], does: "Ten frames back", action: "frame-previous-10", repeats: true },
      { keys: ["Shift+Right"], does: "Ten frames on", action: "frame-next-10", repeats: true },
      { keys: ["Home"], does: "First frame", action: "frame-first" },
      { keys: ["End"], does: "Last frame", action: "frame-last" },
      { keys: ["K"], does: "Play or pause (also a tap on Space)", action: "play" },
      { keys: ["T"], does: "Track forward", action: "track-forward" },
      { keys: ["Shift+T"], does: "Track back", action: "track-back" },
      { keys: ["Esc"], does: "Stop tracking", action: "track-stop" }, // done by "escape", which comes first
      { keys: ["PageDown"], does: "Next scan", action: "scan-next", repeats: true },
      { keys: ["PageUp"], does: "Previous scan", action: "scan-previous", repeats: true },
      { keys: ["U"], does: "Next uncertain", action: "uncertain" },
      { keys: ["F"], does: "Scan finished", action: "done" },
    ],
  },
  {
    title: "View",
    bindings: [
      { keys: ["+"], does: "Larger", action: "zoom-in", repeats: true },
      { keys: ["-"], does: "Smaller", action: "zoom-out", repeats: true },
      {
        keys: ["Ctrl+Left", "Ctrl+Right", "Ctrl+Up", "Ctrl+Down"],
        shown: "Ctrl+Arrows",
        does: "Move the view over the image",
        action: "pan",
        repeats: true,
      },
      { keys: ["0"], does: "Fit into the window", action: "fit" },
      { keys: ["L"], does: "Window and level", action: "levels" },
      { keys: ["?"], does: "This help", action: "help" },
      { keys: ["F6", "Shift+F6"], does: "Next or previous part of the page", action: "region" },
    ],
  },
  {
    title: "Keyboard pointer",
    bindings: [
      { keys: ["C"], does: "On or off", action: "crosshair" },
      {
        keys: ["Left", "Right", "Up", "Down"],
        shown: "Arrows",
        does: "Move it",
        action: "crosshair-move",
        where: "pointer",
        repeats: true,
      },
      {
        keys: ["Shift+Left", "Shift+Right", "Shift+Up", "Shift+Down"],
        shown: "Shift+Arrows",
        does: "Move it fast",
        action: "crosshair-move",
        where: "pointer",
        repeats: true,
      },
      {
        keys: ["Enter"],
        does: "Click; set a corner or an end; begin and end a box; put the brush down and lift it",
        action: "crosshair-press",
        where: "pointer",
      },
      {
        keys: ["Shift+Enter", "Alt+Enter"],
        does: "Close the polygon; close it and cut it out",
        action: "",
        where: "hand",
      },
      {
        keys: ["Backspace"],
        does: "Take away from the object; the last corner back",
        action: "crosshair-remove",
        where: "pointer",
      },
    ],
  },
];

/** @typedef {Record<string, (key: string) => void>} Actions */

const ALL = KEYS.flatMap(({ bindings }) => bindings).filter(({ where }) => where !== "hand");
// What holds in a narrower place is looked up first.
const ORDER = [...ALL].sort((a, b) => Number(a.where === undefined) - Number(b.where === undefined));

/** The name of a key stroke as the table writes it, such as "Ctrl+Shift+Z". @param {KeyboardEvent} event */
export function nameOfKey(event) {
  let key = event.key
    .replace(/^Arrow/, "")
    .replace("Escape", "Esc")
    .replace(/^Spacebar$/, " ");
  const letter = /^\p{L}$/u.test(key);
  // On a keyboard of another script the letter printed in Latin counts.
  if (letter) key = /^[a-z]$/i.test(key) ? key.toUpperCase() : event.code.replace(/^Key/, "");
  if (key === "=") key = "+"; // the same key without Shift
  if (key === "_") key = "-";
  // Signs such as ? or [ already say which modifiers were needed to type them.
  const sign = key.length === 1 && !letter;
  const typed = event.getModifierState("AltGraph");
  const parts = [];
  if ((event.ctrlKey || event.metaKey) && !typed) parts.push("Ctrl");
  if (event.altKey && !typed) parts.push("Alt");
  if (event.shiftKey && !sign) parts.push("Shift");
  return [...parts, key].join("+");
}

/** The keys of an action for the tip of its button. @param {string} action */
export function keysOf(action) {
  const binding = ALL.find((one) => one.action === action);
  return binding ? binding.keys.join(" or ") : "";
}

/** @param {Element|null} element */
const writes = (element) =>
  element instanceof HTMLTextAreaElement ||
  element instanceof HTMLSelectElement ||
  (element instanceof HTMLInputElement && !["checkbox", "radio", "button", "range", "color"].includes(element.type));

/** @param {Element|null} element a slider keeps the keys that move it */
const slides = (element) => element instanceof HTMLInputElement && element.type === "range";
const SLIDING = /^(Shift\+)?(Left|Right|Up|Down|Home|End|PageUp|PageDown)$/;

const onCanvas = () => document.activeElement === canvas || document.activeElement === document.body;

/** Buttons and links keep the keys that press them. @param {string} name */
const presses = (name) => !onCanvas() && (name === "Enter" || name === " ");

const TAP_MS = 300; // a shorter Space plays, a longer one was meant to pan
let spaceSince = 0;

/** @param {Actions} actions */
export function startKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (dialogOpen() || event.isComposing) return;
    const name = nameOfKey(event);
    if (writes(document.activeElement) && event.key !== "F6") return;
    if (slides(document.activeElement) && SLIDING.test(name)) return;
    if (presses(name)) return;
    if (event.key === " " || name === "W") {
      if (!event.repeat) {
        held.used = false;
        spaceSince = event.timeStamp;
      }
      if (event.key === " ") held.space = true;
      else held.window = true;
      setCursor();
      event.preventDefault();
      return;
    }
    // The keyboard pointer's Enter is its click.
    const clicks = state.keyboardPointer && name === "Enter";
    if (onCanvas() && !clicks && tool().key?.(event.key, event.altKey)) {
      event.preventDefault();
      return;
    }
    if (name === "Tab" || name === "Shift+Tab") {
      if (!state.scan?.objects.length) return; // nothing to choose: the key moves the focus, as everywhere
    }
    const binding = ORDER.find(
      ({ keys, where }) =>
        keys.includes(name) &&
        (where === undefined || (onCanvas() && (where === "canvas" || state.keyboardPointer))),
    );
    const action = binding && actions[binding.action];
    if (!action) return;
    event.preventDefault();
    if (!event.repeat || binding.repeats) action(name);
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && held.space) {
      held.space = false;
      if (!held.used && event.timeStamp - spaceSince < TAP_MS) actions.play?.("Space");
      setCursor();
    }
    if (event.key.toUpperCase() === "W") {
      held.window = false;
      setCursor();
    }
  });
  window.addEventListener("blur", () => {
    held.space = held.window = false;
    setCursor();
  });
  // Each button that does what a key does says so.
  for (const button of document.querySelectorAll("[data-action]")) {
    if (!(button instanceof HTMLElement)) continue;
    const action = button.dataset.action ?? "";
    const keys = keysOf(action);
    if (keys) {
      button.title = `${button.title || button.getAttribute("aria-label") || button.textContent?.trim() || ""} (${keys})`;
      button.setAttribute("aria-keyshortcuts", keys.split(" or ")[0]?.replace("Ctrl", "Control") ?? "");
    }
    button.addEventListener("click", () => actions[action]?.(""));
  }
  // After a mouse or finger the keys belong to the image again; a keyboard user stays on the button. It happens
  // before the button acts: a dialog then gives the focus back to the image.
  document.addEventListener(
    "click",
    (event) => {
      const button = event.target instanceof Element && event.target.closest("button");
      if (button && event.detail > 0 && !button.closest("dialog, [popover]")) canvas.focus({ preventScroll: true });
    },
    { capture: true },
  );
}

/** The table as the help shows it. */
export function helpTable() {
  return KEYS.map(({ title, bindings }) =>
    make(
      "section",
      {},
      make("h3", {}, title),
      make(
        "dl",
        {},
        ...bindings.map(({ keys, shown, does }) =>
          make("div", {}, make("dt", {}, ...keysAsElements(shown ? [shown] : keys)), make("dd", {}, does)),
        ),
      ),
    ),
  );
}

/** @param {string[]} words */
function keysAsElements(words) {
  return words.map((word) => make("kbd", {}, word.replace(/\bLeft$/, "←").replace(/\bRight$/, "→")));
}
