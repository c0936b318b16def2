// The tools, and which one is in the hand.

/** @import {Tool} from "./types.js" */

import { emit, on, state } from "./state.js";
import { addOverlay } from "./scene.js";
import { brushTool, eraserTool } from "./tool-brush.js";
import { calliperTool } from "./tool-calliper.js";
import { boxTool, clickTool } from "./tool-click.js";
import { polygonTool } from "./tool-polygon.js";
import { canvas, context } from "./view.js";

/** @type {Tool} */
const panTool = {
  name: "pan",
  cursor: "grab",
  hint: () => "Drag the image; the wheel or + and - zoom, 0 fits it into the window.",
};

/** @type {Tool[]} */
export const TOOLS = [clickTool, boxTool, calliperTool, brushTool, eraserTool, polygonTool, panTool];

/** @type {Tool} */
let current = clickTool;

export const tool = () => current;

let lost = "";
const LOST_MS = 6000;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;

/** For a moment: what was half drawn when the frame changed. */
export const lostDrawing = () => lost;

/** @param {string} words */
function tellLost(words) {
  clearTimeout(timer);
  lost = words;
  emit("tool");
  if (words) timer = setTimeout(() => tellLost(""), LOST_MS);
}

/** @param {string} name */
export function takeTool(name) {
  const next = TOOLS.find((one) => one.name === name);
  if (!next) return;
  current.cancel?.();
  lost = "";
  current = next;
  state.tool = name;
  canvas.style.cursor = next.cursor;
  emit("tool");
}

// What is half drawn belongs to the frame and the object it was begun on.
let [frame, target, scan] = [state.frame, state.target, state.scan?.id];
on(["frame", "target", "scan"], () => {
  if (frame === state.frame && target === state.target && scan === state.scan?.id) return;
  const what = frame === state.frame ? "" : (current.begun?.() ?? "");
  [frame, target, scan] = [state.frame, state.target, state.scan?.id];
  current.cancel?.();
  if (what) tellLost(`${what} that you had begun is gone, because the frame changed.`);
});

addOverlay(() => {
  if (!state.playing) current.draw?.(context);
});
