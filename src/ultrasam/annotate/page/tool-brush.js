// Brush and eraser. The stroke under the hand is kept as bits and painted into a small changed part only; the mask
// itself is made once, when the hand is lifted.

/** @import {Pointer, Tool} from "./types.js" */

import { paint } from "./edits.js";
import { rgb, stamp } from "./masks.js";
import { keepSettings, settings, state, targetColour } from "./state.js";
import { objectWords } from "./tool-click.js";
import { context, redraw, toScreen, view } from "./view.js";

const SMALLEST = 1;
const LARGEST = 200;

const sheet = document.createElement("canvas");
const ink = sheet.getContext("2d");
/** @type {Uint8Array|null} */
let bits = null;
/** @type {ImageData|null} */
let pixels = null;
/** @type {Pointer|null} */
let last = null;
/** @type {Pointer|null} */
let place = null;

/** @param {number} radius in image pixels */
export function setBrush(radius) {
  settings.brush = Math.min(LARGEST, Math.max(SMALLEST, Math.round(radius)));
  keepSettings();
  redraw();
}

/** @param {1|-1} way */
export const sizeBrush = (way) =>
  setBrush(
    way > 0
      ? Math.max(settings.brush + 1, settings.brush * 1.2)
      : Math.min(settings.brush - 1, settings.brush / 1.2),
  );

function begin() {
  const { width, height } = state.scan ?? { width: 1, height: 1 };
  bits = new Uint8Array(width * height);
  sheet.width = width; // also clears it
  sheet.height = height;
  pixels = new ImageData(width, height);
}

/** @param {Pointer} to @param {boolean} adding */
function draw(to, adding) {
  if (!bits || !pixels || !ink) return;
  const { width, height } = pixels;
  const [x0, y0, x1, y1] = stamp(bits, width, height, last ?? to, to, settings.brush);
  last = to;
  if (x1 <= x0 || y1 <= y0) return;
  const [red, green, blue] = adding ? rgb(targetColour(state.target)) : [20, 20, 24];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      if (!bits[y * width + x]) continue;
      pixels.data.set([red, green, blue, adding ? 130 : 190], (y * width + x) * 4);
    }
  }
  ink.putImageData(pixels, 0, 0, x0, y0, x1 - x0, y1 - y0);
}

function forget() {
  bits = pixels = last = null;
  redraw();
}

/** @param {string} name @param {boolean} adding @param {() => string} hint @returns {Tool} */
const brush = (name, adding, hint) => ({
  name,
  cursor: "none",
  hint,
  down(at) {
    place = at;
    begin();
    draw(at, adding);
    redraw();
  },
  move(at) {
    place = at;
    draw(at, adding);
    redraw();
  },
  up(_at, event) {
    if (bits && pixels) paint(bits, pixels.width, pixels.height, adding, event.timeStamp);
    forget();
  },
  hover(at) {
    place = at;
    redraw();
  },
  leave() {
    place = null;
    redraw();
  },
  pressed: () => bits !== null,
  begun: () => (bits ? "The stroke" : ""),
  cancel: forget,
  draw() {
    if (bits && pixels) {
      context.imageSmoothingEnabled = false;
      context.drawImage(sheet, view.x, view.y, pixels.width * view.scale, pixels.height * view.scale);
    }
    if (!place) return;
    const [x, y] = toScreen(place.x, place.y);
    for (const [colour, width] of /** @type {const} */ ([
      ["rgba(0, 0, 0, 0.7)", 3.5],
      ["#ffffff", 1.5],
    ])) {
      context.beginPath();
      context.arc(x, y, Math.max(2, settings.brush * view.scale), 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      if (!adding) context.setLineDash([5, 4]);
      context.stroke();
      context.setLineDash([]);
    }
  },
});

export const brushTool = brush(
  "brush",
  true,
  () => `Paint ${objectWords()} by hand; [ and ] change the size of the brush.`,
);
export const eraserTool = brush(
  "eraser",
  false,
  () => `Rub parts of ${objectWords()} out; [ and ] change the size of the eraser.`,
);
