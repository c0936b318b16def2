// Masks ready to be drawn. An annotation is never changed, a new version is a new object, so what was made of it is
// kept for as long as it lives: no mask is decoded twice, and none while the pointer moves.

/** @import {Annotation, Mask, Stroke, Target} from "./types.js" */

import { combine, decode, outlines } from "./masks.js";
import { annotationOf, state } from "./state.js";

/** @typedef {{path: Path2D, top: {x: number, y: number}|null}} Layer  top: its highest point, where the name stands */

/** @type {WeakMap<Mask, Layer>} */
const layers = new WeakMap();
/** @type {WeakMap<Stroke, {base: Mask|null, before: Stroke|null, bits: Uint8Array, layer: Layer}>} */
const stroked = new WeakMap();
/** @type {Map<Mask, Uint8Array>} */
const decoded = new Map();
const DECODED = 4; // full-size masks kept for the brush

/** @param {Mask} mask */
function bitsOfMask(mask) {
  const bits = decoded.get(mask) ?? decode(mask);
  decoded.delete(mask); // the newest last
  decoded.set(mask, bits);
  for (const old of decoded.keys()) if (decoded.size > DECODED) decoded.delete(old);
  return bits;
}

/** Not to be changed. @param {Annotation} annotation */
export const bitsOf = (annotation) => bitsOfMask(annotation.mask);

/** @param {Uint8Array} bits @param {number} width @param {number} height @returns {Layer} */
export function layerOfBits(bits, width, height) {
  const path = new Path2D();
  let top = null;
  for (const curve of outlines(bits, width, height)) {
    for (let at = 0; at < curve.length; at += 2) {
      const [x, y] = [curve[at] ?? 0, curve[at + 1] ?? 0];
      if (at) path.lineTo(x, y);
      else path.moveTo(x, y);
      if (!top || y < top.y) top = { x, y };
    }
    path.closePath();
  }
  return { path, top };
}

/** @param {Mask} mask */
export function layerOf(mask) {
  let layer = layers.get(mask);
  if (!layer) {
    layer = layerOfBits(decode(mask), mask.size[1], mask.size[0]);
    layers.set(mask, layer);
  }
  return layer;
}

/** @param {number} frame @param {Target} target */
const strokesOf = (frame, target) =>
  state.strokes.filter(
    (stroke) =>
      stroke.frame === frame &&
      (stroke.target === target || (target.id !== null && stroke.target.id === target.id)),
  );

/**
 * The mask of a target as it is shown, strokes under way included; null: none.
 * @param {number} frame
 * @param {Target} target
 */
export function shownBits(frame, target) {
  const known = annotationOf(frame, target.id);
  const strokes = strokesOf(frame, target);
  if (!strokes.length) return known ? bitsOf(known) : null;
  return joined(known?.mask ?? null, strokes).bits;
}

/** @param {number} frame @param {Target} target @returns {Layer|null} */
export function shownLayer(frame, target) {
  const known = annotationOf(frame, target.id);
  const strokes = strokesOf(frame, target);
  if (!strokes.length) return known ? layerOf(known.mask) : null;
  return joined(known?.mask ?? null, strokes).layer;
}

/** @param {Mask|null} base @param {Stroke[]} strokes one or more */
function joined(base, strokes) {
  const last = /** @type {Stroke} */ (strokes[strokes.length - 1]);
  const before = strokes[strokes.length - 2] ?? null;
  const kept = stroked.get(last);
  if (kept && kept.base === base && kept.before === before) return kept;
  let bits = base ? bitsOfMask(base) : null;
  for (const stroke of strokes) bits = combine(bits, stroke.bits, stroke.add);
  const whole = /** @type {Uint8Array} */ (bits);
  const made = { base, before, bits: whole, layer: layerOfBits(whole, last.width, last.height) };
  stroked.set(last, made);
  return made;
}
