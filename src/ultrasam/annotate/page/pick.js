// Which object lies under a point.

import { holds } from "./masks.js";
import { state } from "./state.js";
import { shownAnnotations } from "./store.js";

/**
 * The smallest one, so that what lies inside another can be reached.
 * @param {{x: number, y: number}} point
 * @returns {number|null}
 */
export function objectAt({ x, y }) {
  const area = (/** @type {number[]} */ counts) =>
    counts.reduce((sum, run, place) => sum + (place % 2 ? run : 0), 0);
  const found = shownAnnotations()
    .filter(({ object, mask }) => !state.hidden.has(object) && holds(mask, x, y))
    .sort((a, b) => area(a.mask.counts) - area(b.mask.counts));
  return found[0]?.object ?? null;
}
