// What is drawn on the canvas: the frame, the masks, what was asked, the preview, the tool, a ruler.

/** @import {Annotation, Pair, ScanObject, Target} from "./types.js" */

import { sentence } from "./dialogs.js";
import { imageError, imageOf } from "./images.js";
import { layerOf, shownLayer } from "./layers.js";
import { levelled } from "./levels.js";
import { annotationOf, colourOf, nameOf, state, targetColour, unsure } from "./state.js";
import { canvas, context, toScreen, view } from "./view.js";

const HALO = "rgba(0, 0, 0, 0.65)"; // around lines: they are seen on black and on white
const FONT = "12px system-ui, sans-serif";

/** @type {(() => void)[]} */
const overlays = [];

/** @param {() => void} overlay draws above the masks, in CSS pixels */
export function addOverlay(overlay) {
  overlays.push(overlay);
}

export function drawScene() {
  context.fillStyle = "#0b0c0e";
  context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if (!state.scan) return;
  const bitmap = imageOf(state.frame);
  if (!bitmap) {
    message(sentence(imageError(state.frame)) || "Loading frame …");
    return;
  }
  context.imageSmoothingEnabled = view.scale < 3; // from there on, pixels are worked on one by one
  context.imageSmoothingQuality = "high";
  const { width, height } = state.scan;
  context.drawImage(levelled(bitmap), view.x, view.y, width * view.scale, height * view.scale);
  if (state.masks) drawMasks();
  drawPrompts();
  drawPreview();
  for (const overlay of overlays) overlay();
  drawRuler();
}

/** @param {string} text */
function message(text) {
  context.font = "14px system-ui, sans-serif";
  context.fillStyle = "#c9ced6";
  context.textAlign = "center";
  context.fillText(text, canvas.clientWidth / 2, canvas.clientHeight / 2);
  context.textAlign = "left";
}

function drawMasks() {
  const { frame, target } = state;
  for (const object of state.scan?.objects ?? []) {
    if (state.hidden.has(object.id) || object.id === target.id) continue;
    drawObject(object, { id: object.id, label: object.label }, false);
  }
  // The current object last, above the others; a new one has no number yet.
  const current = state.scan?.objects.find(({ id }) => id === target.id);
  if (current) {
    if (!state.hidden.has(current.id)) drawObject(current, target, true);
  } else {
    const layer = shownLayer(frame, target);
    if (layer) drawPath(layer.path, targetColour(target), true);
  }
}

/** @param {ScanObject} object @param {Target} target @param {boolean} current */
function drawObject(object, target, current) {
  const layer = shownLayer(state.frame, target);
  if (!layer) return;
  drawPath(layer.path, colourOf(object), current);
  const annotation = annotationOf(state.frame, object.id);
  if (layer.top && !state.playing) drawName(object, annotation, toScreen(layer.top.x, layer.top.y), current);
}

/** @param {Path2D} path in image pixels @param {string} colour @param {boolean} current */
function drawPath(path, colour, current) {
  inImage(() => {
    context.globalAlpha = current ? 0.26 : 0.14;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineJoin = "round";
    context.strokeStyle = HALO;
    context.lineWidth = (current ? 4.5 : 3) / view.scale;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = (current ? 2.25 : 1.5) / view.scale;
    context.stroke(path);
  });
}

/** @param {() => void} paint with image pixels as the unit */
function inImage(paint) {
  context.save();
  context.translate(view.x, view.y);
  context.scale(view.scale, view.scale);
  paint();
  context.restore();
}

/**
 * @param {ScanObject} object
 * @param {Annotation|null} annotation
 * @param {Pair} place
 * @param {boolean} current
 */
function drawName(object, annotation, [x, y], current) {
  tag(`${nameOf(object)}${annotation && unsure(annotation) ? "  ⚠ check" : ""}`, x, y - 10, colourOf(object), current);
}

/**
 * A line of text on a dark plate, with a bar in the object's colour.
 * @param {string} text
 * @param {number} x its middle
 * @param {number} y its middle
 * @param {string} colour
 * @param {boolean} [strong]
 */
export function tag(text, x, y, colour, strong = false) {
  context.font = strong ? `600 ${FONT}` : FONT;
  const width = context.measureText(text).width + 16;
  const left = Math.min(Math.max(4, x - width / 2), canvas.clientWidth - width - 4);
  const top = Math.min(Math.max(4, y - 9), canvas.clientHeight - 22);
  context.fillStyle = "rgba(12, 14, 17, 0.8)";
  context.fillRect(left, top, width, 18);
  context.fillStyle = colour;
  context.fillRect(left, top, 4, 18);
  context.fillStyle = "#f2f4f7";
  context.textBaseline = "middle";
  context.fillText(text, left + 10, top + 9.5);
  context.textBaseline = "alphabetic";
}

function drawPrompts() {
  if (state.playing || !state.masks) return;
  const known = annotationOf(state.frame, state.target.id);
  if (known?.prompts.box && known.origin === "prompt") {
    const [x0 = 0, y0 = 0, x1 = 0, y1 = 0] = known.prompts.box;
    drawBox(toScreen(x0, y0), toScreen(x1, y1));
  }
  known?.prompts.points.forEach(([x, y], place) =>
    dot(toScreen(x, y), known.prompts.labels[place] === 1, false),
  );
  for (const click of state.clicks) {
    if (click.frame === state.frame) dot(toScreen(click.x, click.y), click.positive, true);
  }
}

/** @param {Pair} from @param {Pair} to CSS pixels */
export function drawBox([x0, y0], [x1, y1]) {
  context.strokeStyle = HALO;
  context.lineWidth = 3;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.setLineDash([6, 4]);
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.25;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.setLineDash([]);
}

/**
 * A click: a plus or a minus in a circle, so that the colour alone says nothing.
 * @param {Pair} place
 * @param {boolean} positive
 * @param {boolean} pending
 */
export function dot([x, y], positive, pending) {
  context.beginPath();
  context.arc(x, y, 6.5, 0, 2 * Math.PI);
  context.fillStyle = pending ? "#3a3f47" : positive ? "#007a55" : "#b34700";
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#ffffff";
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3, y);
  context.lineTo(x + 3, y);
  if (positive) {
    context.moveTo(x, y - 3);
    context.lineTo(x, y + 3);
  }
  context.stroke();
}

function drawPreview() {
  const preview = state.preview;
  if (!preview || preview.frame !== state.frame || preview.target !== state.target || state.playing) return;
  const { path } = layerOf(preview.mask);
  inImage(() => {
    context.globalAlpha = 0.1;
    context.fillStyle = preview.colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineWidth = 3.5 / view.scale;
    context.strokeStyle = HALO;
    context.stroke(path);
    context.setLineDash([6 / view.scale, 5 / view.scale]);
    context.lineWidth = 1.75 / view.scale;
    context.strokeStyle = "#ffffff";
    context.stroke(path);
  });
}

/** A length of 1, 2 or 5 times a power of ten that takes about a sixth of the canvas. */
function drawRuler() {
  const spacing = state.scan?.spacing ?? state.scan?.regions.find((region) => region.spacing)?.spacing;
  if (!spacing) return;
  const pixels = view.scale / spacing[0]; // CSS pixels per mm
  const room = canvas.clientWidth / 6 / pixels;
  const power = 10 ** Math.floor(Math.log10(room));
  const length = ([5, 2, 1].find((step) => step * power <= room) ?? 1) * power;
  const text = length >= 10 ? `${length / 10} cm` : `${Number(length.toPrecision(1))} mm`;
  const [x, y] = [14, canvas.clientHeight - 14];
  const path = new Path2D(`M${x} ${y - 6}V${y}H${x + length * pixels}V${y - 6}`);
  context.strokeStyle = HALO;
  context.lineWidth = 4;
  context.stroke(path);
  context.strokeStyle = "#f2f4f7";
  context.lineWidth = 1.5;
  context.stroke(path);
  context.font = FONT;
  context.lineWidth = 3;
  context.strokeStyle = HALO;
  context.strokeText(text, x + 4, y - 6);
  context.fillStyle = "#f2f4f7";
  context.fillText(text, x + 4, y - 6);
}
