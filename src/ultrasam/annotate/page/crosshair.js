// The keyboard pointer: a crosshair that the arrow keys move, for those who cannot or do not want to use a mouse.

import { prompt } from "./edits.js";
import { clearPreview, wantPreview } from "./preview.js";
import { addOverlay, drawBox } from "./scene.js";
import { emit, locked, on, state } from "./state.js";
import { say } from "./dialogs.js";
import { at, canvas, clamped, context, redraw, toScreen, view } from "./view.js";

const STEP = 4; // CSS pixels, but never less than one of the image
const FAST = 8;

const place = { x: 0, y: 0 };
/** @type {{x: number, y: number}|null} */
let corner = null; // of a box that was begun

export function toggleCrosshair() {
  state.keyboardPointer = !state.keyboardPointer;
  corner = null;
  if (state.keyboardPointer) {
    const middle = clamped(at(canvas.clientWidth / 2, canvas.clientHeight / 2));
    [place.x, place.y] = [middle.x, middle.y];
    canvas.focus();
    say(
      "Keyboard pointer: arrows move it, Enter adds, Backspace takes away, B begins and ends a box, C leaves.",
    );
  } else clearPreview();
  emit("tool", "view");
}

/** @param {number} dx @param {number} dy @param {boolean} fast */
export function moveCrosshair(dx, dy, fast) {
  const step = Math.max(1, STEP / view.scale) * (fast ? FAST : 1);
  const moved = clamped({ x: place.x + dx * step, y: place.y + dy * step });
  [place.x, place.y] = [moved.x, moved.y];
  const [px, py] = toScreen(place.x, place.y);
  if (!corner) wantPreview({ ...place, px, py }, true);
  redraw();
}

/** @param {boolean} positive */
export function clickCrosshair(positive) {
  if (locked()) say(locked());
  else prompt({ kind: "click", ...place, positive }, performance.now());
}

export function boxCrosshair() {
  if (!corner) {
    corner = { ...place };
    clearPreview();
    redraw();
    return;
  }
  const box = [
    Math.min(corner.x, place.x),
    Math.min(corner.y, place.y),
    Math.max(corner.x, place.x),
    Math.max(corner.y, place.y),
  ];
  corner = null;
  redraw();
  if (locked()) say(locked());
  else if (Math.abs((box[2] ?? 0) - (box[0] ?? 0)) >= 1 && Math.abs((box[3] ?? 0) - (box[1] ?? 0)) >= 1)
    prompt({ kind: "box", box }, performance.now());
}

/** Escape: first the box, then the mode. @returns {boolean} whether there was something to leave */
export function leaveCrosshair() {
  if (corner) {
    corner = null;
    redraw();
    return true;
  }
  if (!state.keyboardPointer) return false;
  toggleCrosshair();
  return true;
}

on(["scan", "frame"], () => {
  corner = null;
});

addOverlay(() => {
  if (!state.keyboardPointer || state.playing) return;
  const [x, y] = toScreen(place.x, place.y);
  if (corner) drawBox(toScreen(corner.x, corner.y), [x, y]);
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
