// The start of the page: what each action does, and what is shown where.

import * as api from "./api.js";
import { jumpTo, startCine, stepFrame, togglePlay } from "./cine.js";
import { editClasses, startClasses } from "./classes.js";
import {
  crosshairHint,
  leaveCrosshair,
  moveCrosshair,
  pressCrosshair,
  removeAtCrosshair,
  toggleCrosshair,
  zoomCentre,
} from "./crosshair.js";
import { ask, say, sentence } from "./dialogs.js";
import { byId } from "./dom.js";
import * as edits from "./edits.js";
import { chooseImport, exportMasks, filesBusy, startFiles } from "./files.js";
import { hasImage, imageError } from "./images.js";
import { helpTable, keysOf, startKeys } from "./keys.js";
import { isPlain, resetLevels, setLevels } from "./levels.js";
import { openNext, openScan, openUncertain } from "./navigate.js";
import { startObjects } from "./objects.js";
import { startPointer } from "./pointer.js";
import { startPoll } from "./poll.js";
import { clearPreview } from "./preview.js";
import { startScans } from "./scans.js";
import { drawScene } from "./scene.js";
import { emit, keepSettings, on, readSettings, settings, state } from "./state.js";
import { frameRefused } from "./store.js";
import { setBrush, sizeBrush } from "./tool-brush.js";
import { lostDrawing, takeTool, tool, TOOLS } from "./tools.js";
import { startTracking, stopTracking, track } from "./track.js";
import { canvas, fit, pan, redraw, setPainter, zoom } from "./view.js";

const ZOOM = 1.25;
const PAN = 60; // CSS pixels

/** @param {boolean} adding */
function setMode(adding) {
  state.adding = adding;
  clearPreview();
  emit("tool");
}

/** Of arrow keys: 1 is to the right, and down. @param {string} key @returns {[number, number]} */
const directionOf = (key) => [
  Number(key.endsWith("Right")) - Number(key.endsWith("Left")),
  Number(key.endsWith("Down")) - Number(key.endsWith("Up")),
];

/** From one part of the page to the next, for the keyboard. @param {string} key */
function nextRegion(key) {
  const regions = [
    canvas,
    byId("tools", HTMLElement),
    byId("left", HTMLElement),
    byId("right", HTMLElement),
    byId("cine", HTMLElement),
  ].filter((region) => !region.closest("[hidden], [inert]"));
  const here = regions.findIndex((region) => region.contains(document.activeElement));
  const next = regions[(here + (key.startsWith("Shift") ? -1 : 1) + regions.length) % regions.length];
  const inside = ["[aria-current=true]", "button[aria-pressed=true]", "button:not(:disabled)", "input"]
    .map((wanted) => next?.querySelector(wanted))
    .find((found) => found);
  if (next === canvas) canvas.focus();
  else if (inside instanceof HTMLElement) inside.focus();
}

function togglePreview() {
  settings.preview = !settings.preview;
  if (!settings.preview) clearPreview();
  keepSettings();
  say(settings.preview ? "Preview on: rest the pointer to see what a click would give." : "Preview off.");
}

/** @type {import("./keys.js").Actions} */
const actions = {
  ...Object.fromEntries(TOOLS.map(({ name }) => [`tool-${name}`, () => takeTool(name)])),
  brush: (key) => sizeBrush(key === "]" ? 1 : -1),
  escape() {
    if (state.tracking) {
      void stopTracking();
      return;
    }
    const begun = tool().pressed?.();
    tool().cancel?.();
    if (state.playing) togglePlay();
    else if (!begun) leaveCrosshair();
  },
  mode: () => setMode(!state.adding),
  "mode-add": () => setMode(true),
  "mode-remove": () => setMode(false),
  preview: togglePreview,
  new: () => edits.select(null),
  "object-next": () => edits.selectNext(1),
  "object-previous": () => edits.selectNext(-1),
  class(key) {
    const found = state.project?.classes.find((one) => one.key === key);
    if (found) edits.chooseClass(found.name);
  },
  classes: () => void editClasses(),
  accept: edits.acceptHere,
  delete: edits.deleteHere,
  "delete-all": () => void edits.deleteObject(),
  masks() {
    state.masks = !state.masks;
    emit("view", "tool");
  },
  find: edits.findObjects,
  undo: () => edits.step("undo"),
  redo: () => edits.step("redo"),
  "frame-previous": () => stepFrame(-1),
  "frame-next": () => stepFrame(1),
  "frame-previous-10": () => stepFrame(-10),
  "frame-next-10": () => stepFrame(10),
  "frame-first": () => jumpTo(0),
  "frame-last": () => jumpTo(Infinity),
  play: togglePlay,
  "track-forward": () => void track("forward"),
  "track-back": () => void track("back"),
  "track-stop": () => void stopTracking(),
  "scan-next": () => openNext(1),
  "scan-previous": () => openNext(-1),
  uncertain: () => void openUncertain(),
  done: edits.toggleDone,
  "zoom-in": () => zoom(ZOOM, ...zoomCentre()),
  "zoom-out": () => zoom(1 / ZOOM, ...zoomCentre()),
  pan(key) {
    const [x, y] = directionOf(key);
    pan(-x * PAN, -y * PAN);
  },
  fit,
  levels: () => byId("levels", HTMLElement).togglePopover(),
  "levels-reset": resetLevels,
  import: chooseImport,
  export: () => void exportMasks(),
  help: () => void ask(byId("help-dialog", HTMLDialogElement)),
  region: nextRegion,
  crosshair: toggleCrosshair,
  "crosshair-move": (key) => moveCrosshair(...directionOf(key), key.startsWith("Shift")),
  "crosshair-press": pressCrosshair,
  "crosshair-remove": removeAtCrosshair,
};

function showTools() {
  for (const { name } of TOOLS)
    byId(`tool-${name}`, HTMLButtonElement).setAttribute("aria-pressed", String(name === state.tool));
  byId("mode-add", HTMLButtonElement).setAttribute("aria-pressed", String(state.adding));
  byId("mode-remove", HTMLButtonElement).setAttribute("aria-pressed", String(!state.adding));
  byId("mode", HTMLElement).hidden = !["click", "polygon"].includes(state.tool);
  byId("brush-size", HTMLElement).hidden = !["brush", "eraser"].includes(state.tool);
  const slider = byId("brush-slider", HTMLInputElement);
  slider.value = String(settings.brush);
  byId("brush-words", HTMLElement).textContent = `${2 * settings.brush} px`;
  byId("preview", HTMLButtonElement).setAttribute("aria-pressed", String(settings.preview));
  byId("masks", HTMLButtonElement).setAttribute("aria-pressed", String(state.masks));
  byId("levels-button", HTMLButtonElement).classList.toggle("changed", !isPlain());
  byId("window", HTMLInputElement).value = String(state.window);
  byId("level", HTMLInputElement).value = String(state.level);
  byId("window-words", HTMLElement).textContent = String(state.window);
  byId("level-words", HTMLElement).textContent = String(state.level);
}

function showHint() {
  const words = lostDrawing() || (state.keyboardPointer ? crosshairHint() : tool().hint());
  const hint = byId("hint", HTMLElement);
  const now = !state.scan
    ? "Choose a scan at the left."
    : state.tracking
      ? "Tracking goes on; Stop or Esc ends it."
      : words;
  if (hint.textContent !== now) hint.textContent = now;
}

function showSteps() {
  for (const way of /** @type {const} */ (["undo", "redo"])) {
    const count = state.scan?.[way] ?? 0;
    const button = byId(way, HTMLButtonElement);
    button.disabled = !count || state.tracking !== null;
    byId(`${way}-count`, HTMLElement).textContent = count > 999 ? "999+" : String(count);
    button.setAttribute(
      "aria-label",
      `${way === "undo" ? "Undo" : "Redo"}, ${count} ${count === 1 ? "step" : "steps"}`,
    );
  }
}

function showSaved() {
  const saved = byId("saved", HTMLElement);
  const sending = state.link === "up" ? "saving …" : "not sent yet";
  const words = state.waiting ? sending : filesBusy ? "working on the file …" : state.saved;
  if (saved.textContent !== words) saved.textContent = words;
  saved.dataset.saved = state.waiting
    ? state.link === "up"
      ? "saving"
      : "waiting"
    : state.saved === "saved"
      ? "saved"
      : "no";
  byId("server-time", HTMLElement).textContent =
    state.serverTime === null ? "" : `${Math.round(state.serverTime)} ms`;
  document.body.dataset.state = busy() ? "busy" : "ready";
}

function busy() {
  if (!state.project || state.opening || state.waiting || state.tracking || filesBusy) return true;
  if (!state.scan) return false;
  return !(hasImage(state.frame) || imageError(state.frame)) || !(state.frames.has(state.frame) || frameRefused(state.frame));
}

/** @type {number|undefined} */
let quietScan; // whose remarks were closed

function showScan() {
  const { scan, project } = state;
  const empty = byId("empty", HTMLElement);
  empty.hidden = scan !== null || state.opening;
  const [title, words] = !project
    ? ["", ""]
    : !project.scans.length
      ? [
          "No scans in this folder",
          "Put images, DICOM files, videos or volumes into the folder and open this page again.",
        ]
      : state.scanError
        ? ["This scan cannot be opened", sentence(state.scanError)]
        : ["No scan is open", "Choose one at the left."];
  byId("empty-title", HTMLElement).textContent = title ?? "";
  byId("empty-words", HTMLElement).textContent = words ?? "";
  const warnings = scan?.warnings ?? [];
  byId("warnings", HTMLElement).hidden = !warnings.length || scan?.id === quietScan;
  byId("warnings-words", HTMLElement).textContent = warnings.join(" ");
  const axes = byId("axis", HTMLSelectElement);
  byId("axis-box", HTMLElement).hidden = !scan?.axes.length;
  axes.replaceChildren(
    ...(scan?.axes ?? []).map((axis) => new Option(axis, axis, false, axis === scan?.axis)),
  );
  const place = scan?.place ?? "";
  document.title = place ? `${place.slice(place.lastIndexOf("/") + 1)} · ultrasam` : "ultrasam";
}

async function begin() {
  try {
    state.project = await api.project();
  } catch (error) {
    if (error instanceof api.ApiError && error.unreached) return; // the banner tells; tried again when it answers
    throw error;
  }
  const { project } = state;
  state.label = project.classes[0]?.name ?? null;
  state.target.label = state.label;
  byId("project", HTMLElement).textContent = project.name;
  byId("project", HTMLElement).title =
    `${project.name} · ultrasam ${project.version}, model ${project.model.name} (${project.model.licence})`;
  byId("about", HTMLElement).textContent =
    `ultrasam ${project.version} · model ${project.model.name} (${project.model.licence})`;
  emit("project", "target", "scan");
  const kept = Number(location.hash.slice(1));
  const first =
    project.scans.find(({ id }) => id === kept) ??
    project.scans.find(({ done }) => !done) ??
    project.scans[0];
  if (first) await openScan(first.id);
}

function start() {
  readSettings();
  setPainter(drawScene);
  startObjects();
  startScans();
  startCine();
  startTracking();
  startClasses();
  startFiles();
  byId("help-table", HTMLElement).replaceChildren(...helpTable());
  startKeys(actions);
  startPointer();
  on(["scan", "frame", "annotations", "target", "view", "playing"], redraw);
  on(["tool", "settings", "view"], showTools);
  on(["tool", "target", "scan", "annotations", "tracking"], showHint);
  on(["scan", "tracking"], showSteps);
  on(["project", "scan", "frame", "annotations", "queue", "link", "tracking", "view"], showSaved);
  on(["project", "scan"], showScan);
  on(["scan"], () => {
    if (state.scan) history.replaceState(null, "", `#${state.scan.id}`); // a reload opens it again
  });
  byId("brush-slider", HTMLInputElement).addEventListener("input", (event) =>
    setBrush(Number(/** @type {HTMLInputElement} */ (event.target).value)),
  );
  for (const id of ["window", "level"]) {
    byId(id, HTMLInputElement).addEventListener("input", () =>
      setLevels(
        Number(byId("window", HTMLInputElement).value),
        Number(byId("level", HTMLInputElement).value),
      ),
    );
  }
  byId("warnings-close", HTMLButtonElement).addEventListener("click", () => {
    quietScan = state.scan?.id;
    emit("scan");
  });
  byId("axis", HTMLSelectElement).addEventListener("change", (event) => {
    const axis = /** @type {HTMLSelectElement} */ (event.target).value;
    if (state.scan) void openScan(state.scan.id, { axis });
  });
  byId("help", HTMLButtonElement).title = `Keys and tools (${keysOf("help")})`;
  startPoll(begin);
  takeTool("click");
  emit("scan", "settings", "queue");
  canvas.focus();
  void begin();
}

start();
