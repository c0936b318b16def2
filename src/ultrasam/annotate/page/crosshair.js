// The keyboard pointer: a crosshair that the arrow keys move, for those who cannot or do not want to use a mouse. What
// its keys do goes through the tool in the hand, as what a mouse does.

/** @import {Hand, Pair, Pointer} from "./types.js" */

import { say } from "./dialogs.js";
import { ready } from "./pointer.js";
import { clearPreview } from "./preview.js";
import { addOverlay } from "./scene.js";
import { emit, on, state } from "./state.js";
import { tool } from "./tools.js";
import { at, canvas, clamped, context, pan, redraw, toScreen, view } from "./view.js";

const STEP = 4; // CSS pixels, but never less than one of the image
const FAST = 8;
const EDGE = 24; // CSS pixels: nearer to the edge of the view, the view follows

const place = { x: 0, y: 0 };

/** @returns {Pointer} */
function here() {
  const [px, py] = toScreen(place.x, place.y);
  return { ...place, px, py };
}

/** @param {boolean} [alt] @returns {Hand} */
const hand = (alt = false) => ({ timeStamp: performance.now(), altKey: alt, button: 0, buttons: 0 });

export function crosshairHint() {
  /** @type {Record<string, string>} */
  const words = {
    click: `Enter ${state.adding ? "adds" : "takes away"}, Backspace takes away`,
    box: tool().pressed?.() ? "Enter ends the box" : "Enter begins a box",
    calliper: "Enter sets each of the four ends",
    brush: tool().pressed?.() ? "Enter lifts the brush" : "Enter puts the brush down",
    eraser: tool().pressed?.() ? "Enter lifts the eraser" : "Enter puts the eraser down",
    polygon: "Enter sets a corner, twice on the same place closes it",
  };
  return ["Keyboard pointer: arrows move it", words[state.tool], "C leaves it."].filter(Boolean).join(", ");
}

export function toggleCrosshair() {
  state.keyboardPointer = !state.keyboardPointer;
  if (tool().pressed?.()) tool().cancel?.();
  if (state.keyboardPointer) {
    const middle = clamped(at(canvas.clientWidth / 2, canvas.clientHeight / 2));
    [place.x, place.y] = [middle.x, middle.y];
    canvas.focus();
    say(crosshairHint());
  } else {
    clearPreview();
    tool().leave?.();
  }
  emit("tool", "view");
}

/** @param {number} dx @param {number} dy @param {boolean} fast */
export function moveCrosshair(dx, dy, fast) {
  const step = Math.max(1, STEP / view.scale) * (fast ? FAST : 1);
  const moved = clamped({ x: place.x + dx * step, y: place.y + dy * step });
  [place.x, place.y] = [moved.x, moved.y];
  follow();
  if (tool().pressed?.()) tool().move?.(here(), hand());
  else tool().hover?.(here(), hand());
  redraw();
}

/** Move the view so that the crosshair is in it. */
function follow() {
  const { px, py } = here();
  const over = (/** @type {number} */ value, /** @type {number} */ size) =>
    Math.max(0, EDGE - value) - Math.max(0, value - (size - EDGE));
  const [dx, dy] = [over(px, canvas.clientWidth), over(py, canvas.clientHeight)];
  if (dx || dy) pan(dx, dy);
}

/** The point of the canvas that stays where it is when the image is zoomed. @returns {[]|Pair} */
export function zoomCentre() {
  if (!state.keyboardPointer) return [];
  const { px, py } = here();
  return [px, py];
}

/** Enter: a click of the tool here, or, of a tool that is held down, its press and then its lift. */
export function pressCrosshair() {
  if (!ready()) return;
  const { down, up, pressed } = tool();
  const lifts = pressed?.() ?? true; // a tool that is not held down does both
  if (!pressed?.()) down?.(here(), hand());
  if (lifts) up?.(here(), hand());
  emit("tool"); // what Enter does next has changed
}

/** A click that takes away, whatever a click does now. */
export function removeAtCrosshair() {
  if (state.tool !== "click" || !ready()) return;
  tool().down?.(here(), hand(state.adding));
  tool().up?.(here(), hand(state.adding));
}

export function leaveCrosshair() {
  if (state.keyboardPointer) toggleCrosshair();
}

on(["scan"], () => {
  const inside = clamped(place); // the next scan may be smaller
  [place.x, place.y] = [inside.x, inside.y];
});

addOverlay(() => {
  if (!state.keyboardPointer || state.playing) return;
  const [x, y] = toScreen(place.x, place.y);
  const path = new Path2D();
  for (const [dx, dy] of /** @type {const} */ ([
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ])) {
    path.moveTo(x + 4 * dx, y + 4 * dy);
    path.lineTo(x + 18 * dx, y + 18 * dy);
  }
  path.moveTo(x + 1, y);
  path.arc(x, y, 1, 0, 2 * Math.PI);
  context.strokeStyle = "#000000";
  context.lineWidth = 4.5;
  context.stroke(path);
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.stroke(path);
});
