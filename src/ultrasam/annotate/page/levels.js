// Window and level: the grey values of the shown frame through a table, here in the page, so that it follows the hand.

import { emit, state } from "./state.js";

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });
/** @type {ImageBitmap|null} */
let source = null; // whose pixels are in `pixels`
/** @type {ImageData|null} */
let pixels = null;
/** @type {ImageData|null} */
let mapped = null;
let made = "";

export const isPlain = () => state.window === 255 && state.level === 127.5;

/**
 * The frame with the current window, as something that can be drawn.
 * @param {ImageBitmap} bitmap
 * @returns {CanvasImageSource}
 */
export function levelled(bitmap) {
  if (isPlain() || !context) return bitmap;
  if (source !== bitmap) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    context.drawImage(bitmap, 0, 0);
    pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
    mapped = new ImageData(bitmap.width, bitmap.height);
    source = bitmap;
    made = "";
  }
  const key = `${state.window} ${state.level}`;
  if (made !== key && pixels && mapped) {
    const table = tableOf(state.window, state.level);
    const from = pixels.data;
    const to = new Uint32Array(mapped.data.buffer);
    for (let at = 0, pixel = 0; at < from.length; at += 4, pixel++) {
      const [red, green, blue] = [
        table[from[at] ?? 0] ?? 0,
        table[from[at + 1] ?? 0] ?? 0,
        table[from[at + 2] ?? 0] ?? 0,
      ];
      to[pixel] = 0xff000000 | (blue << 16) | (green << 8) | red;
    }
    context.putImageData(mapped, 0, 0);
    made = key;
  }
  return canvas;
}

/**
 * What each grey value becomes: the window, centred at the level, is stretched to 0..255.
 * @param {number} window
 * @param {number} level
 */
export function tableOf(window, level) {
  const low = level - window / 2;
  return Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - low) / window) * 255);
}

/** @param {number} window @param {number} level */
export function setLevels(window, level) {
  state.window = Math.round(Math.min(255, Math.max(2, window)));
  state.level = Math.min(255, Math.max(0, Math.round(level * 2) / 2));
  emit("view", "settings");
}

export const resetLevels = () => setLevels(255, 127.5);
