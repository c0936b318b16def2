// Where the image lies on the canvas: fit, zoom, pan, and a redraw at the next frame of the screen.

/** @import {Pointer} from "./types.js" */

import { byId } from "./dom.js";
import { state } from "./state.js";

export const canvas = byId("canvas", HTMLCanvasElement);
const surface = canvas.getContext("2d", { alpha: false });
if (!surface) throw new Error("this browser has no 2-D canvas");
export const context = surface;

/** Image pixel (u, v) lies at (u * scale + x, v * scale + y), in CSS pixels of the canvas. */
export const view = { scale: 1, x: 0, y: 0 };

const MARGIN = 12;
const MOST = 40; // CSS pixels per image pixel
let fitted = true;
let asked = false;
let draw = () => {};

/** @param {() => void} paint draws all of it */
export function setPainter(paint) {
  draw = paint;
}

/** Draw once at the next frame of the screen, however often this is called. */
export function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw();
  });
}

export function fit() {
  const { width, height } = state.scan ?? { width: 1, height: 1 };
  const [wide, high] = [canvas.clientWidth - 2 * MARGIN, canvas.clientHeight - 2 * MARGIN];
  view.scale = Math.max(0.02, Math.min(wide / width, high / height, MOST));
  view.x = (canvas.clientWidth - width * view.scale) / 2;
  view.y = (canvas.clientHeight - height * view.scale) / 2;
  fitted = true;
  moved();
}

/** @param {number} factor @param {number} [px] the point that stays, in CSS pixels @param {number} [py] */
export function zoom(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
  const scale = Math.min(MOST, Math.max(0.05, view.scale * factor));
  view.x = px - ((px - view.x) * scale) / view.scale;
  view.y = py - ((py - view.y) * scale) / view.scale;
  view.scale = scale;
  fitted = false;
  moved();
}

/** @param {number} dx @param {number} dy in CSS pixels */
export function pan(dx, dy) {
  const { width, height } = state.scan ?? { width: 1, height: 1 };
  const keep = 40; // so much of the image always stays in sight
  view.x = Math.min(canvas.clientWidth - keep, Math.max(keep - width * view.scale, view.x + dx));
  view.y = Math.min(canvas.clientHeight - keep, Math.max(keep - height * view.scale, view.y + dy));
  fitted = false;
  moved();
}

function moved() {
  // Read by tests and tools that want to point at an image pixel.
  canvas.dataset.view = JSON.stringify({ scale: view.scale, x: view.x, y: view.y });
  redraw();
}

/** @param {MouseEvent} event @returns {Pointer} */
export function pointer(event) {
  const box = canvas.getBoundingClientRect();
  return at(event.clientX - box.left, event.clientY - box.top);
}

/** @param {number} px @param {number} py CSS pixels of the canvas @returns {Pointer} */
export function at(px, py) {
  return { px, py, x: (px - view.x) / view.scale, y: (py - view.y) / view.scale };
}

/** @param {number} x @param {number} y image pixels @returns {[number, number]} CSS pixels of the canvas */
export function toScreen(x, y) {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/** @param {{x: number, y: number}} point */
export function onImage({ x, y }) {
  return (
    Boolean(state.scan) && x >= 0 && y >= 0 && x < (state.scan?.width ?? 0) && y < (state.scan?.height ?? 0)
  );
}

/**
 * Into the image; its outer edge counts as the last pixel.
 * @template {{x: number, y: number}} P
 * @param {P} point
 * @returns {P}
 */
export function clamped(point) {
  const { width, height } = state.scan ?? { width: 1, height: 1 };
  const inside = (/** @type {number} */ value, /** @type {number} */ size) =>
    Math.min(size - 1e-3, Math.max(0, value));
  return { ...point, x: inside(point.x, width), y: inside(point.y, height) };
}

/** Make the canvas as fine as the screen whenever its place in the page changes. */
function resized() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
  if (fitted) fit();
  else pan(0, 0);
}

new ResizeObserver(resized).observe(canvas);
