// Mouse, pen and fingers on the canvas: one goes to the tool, the others pan, zoom and set the window.

import { objectAt } from "./pick.js";
import { select } from "./edits.js";
import { setLevels } from "./levels.js";
import { imageOf } from "./images.js";
import { say } from "./dialogs.js";
import { locked, on, state } from "./state.js";
import { clearPreview } from "./preview.js";
import { tool } from "./tools.js";
import { canvas, pan, pointer, zoom } from "./view.js";

/** Keys that are held down and change what a drag does; set by keys.js. */
export const held = { space: false, window: false, used: false };

/** @type {Map<number, PointerEvent>} */
const fingers = new Map();
/** @type {"tool"|"pan"|"window"|"pinch"|null} */
let gesture = null;
/** @type {number|null} */
let mine = null; // the pointer of the gesture
let [lastX, lastY] = [0, 0];
/** @type {PointerEvent|null} */
let resting = null; // over the image, with no button held
let greeted = "";

export function setCursor() {
  const moving = held.space || tool().name === "pan";
  canvas.style.cursor =
    gesture === "pan" ? "grabbing" : moving ? "grab" : held.window ? "ns-resize" : tool().cursor;
}

/** @param {PointerEvent} event */
function down(event) {
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (event.pointerType === "touch") {
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      if (gesture === "tool") tool().cancel?.();
      gesture = "pinch";
      return;
    }
  }
  if (gesture) return;
  mine = event.pointerId;
  [lastX, lastY] = [event.clientX, event.clientY];
  if (held.window) gesture = "window";
  else if (event.button === 1 || held.space || (tool().name === "pan" && event.button === 0)) gesture = "pan";
  else if (event.ctrlKey || event.metaKey) {
    const found = objectAt(pointer(event));
    if (found !== null) select(found);
  } else if (event.button === 0 || event.button === 2) begin(event);
  if (gesture === "pan" || gesture === "window") held.used = true;
  setCursor();
  event.preventDefault(); // no automatic scrolling under the middle button
}

/** Whether a tool can begin on what is shown; where it cannot, a remark says why. */
export function ready() {
  const why = locked() || (state.playing ? "The clip plays: pause it to annotate." : "");
  say(why);
  return !why && imageOf(state.frame) !== null;
}

/** @param {PointerEvent} event */
function begin(event) {
  if (!ready()) return;
  gesture = "tool";
  tool().down?.(pointer(event), event);
}

function hover() {
  if (resting && !held.space && !held.window && !state.playing) tool().hover?.(pointer(resting), resting);
}

/** @param {PointerEvent} event */
function move(event) {
  if (gesture === "pinch") {
    pinch(event);
    return;
  }
  if (gesture === null) {
    resting = event.pointerType === "touch" ? null : event;
    hover();
    return;
  }
  if (event.pointerId !== mine) return;
  if (gesture === "tool") {
    // Fast strokes come in parts: the brush gets them all.
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) tool().move?.(pointer(part), event);
    return;
  }
  const [dx, dy] = [event.clientX - lastX, event.clientY - lastY];
  [lastX, lastY] = [event.clientX, event.clientY];
  if (gesture === "pan") pan(dx, dy);
  else setLevels(state.window + dx, state.level + dy / 2);
}

/** Two fingers: their middle moves the image, their distance zooms it. @param {PointerEvent} event */
function pinch(event) {
  const before = [...fingers.values()];
  if (!fingers.has(event.pointerId) || before.length < 2) return;
  fingers.set(event.pointerId, event);
  const after = [...fingers.values()];
  const middle = (/** @type {PointerEvent[]} */ [a, b]) =>
    a && b
      ? [
          (a.clientX + b.clientX) / 2,
          (a.clientY + b.clientY) / 2,
          Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY),
        ]
      : [];
  const [x0 = 0, y0 = 0, d0 = 0] = middle(before);
  const [x1 = 0, y1 = 0, d1 = 0] = middle(after);
  pan(x1 - x0, y1 - y0);
  const box = canvas.getBoundingClientRect();
  if (d0 > 0 && d1 > 0) zoom(d1 / d0, x1 - box.left, y1 - box.top);
}

/** @param {PointerEvent} event */
function up(event) {
  fingers.delete(event.pointerId);
  if (gesture === "pinch") {
    if (!fingers.size) gesture = null;
    return;
  }
  if (event.pointerId !== mine) return;
  if (gesture === "tool") tool().up?.(pointer(event), event);
  gesture = null;
  mine = null;
  setCursor();
}

/** @param {PointerEvent} event */
function cancel(event) {
  fingers.delete(event.pointerId);
  if (gesture === "tool" && event.pointerId === mine) tool().cancel?.();
  if (event.pointerId === mine || !fingers.size) gesture = mine = null;
  setCursor();
}

export function startPointer() {
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", cancel);
  canvas.addEventListener("pointerleave", () => {
    resting = null;
    clearPreview();
    if (!gesture) tool().leave?.();
  });
  // A new frame comes under a pointer that rests: the preview comes without a move.
  on(["annotations"], () => {
    const shown = `${state.scan?.id} ${state.frame}`;
    if (shown === greeted || !state.frames.has(state.frame)) return;
    greeted = shown;
    if (gesture === null) hover();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("auxclick", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { px, py } = pointer(event);
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
      zoom(Math.exp(-Math.max(-150, Math.min(150, event.deltaY * lines)) / 500), px, py);
    },
    { passive: false },
  );
}
