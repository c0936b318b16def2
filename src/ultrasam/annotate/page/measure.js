// Sizes as words. The server measures; here they only get units that a person reads easily.

/** @import {Measurements} from "./types.js" */

/** @param {number} value @param {"px"|"mm"} unit */
export function length(value, unit) {
  if (unit === "px") return `${value.toFixed(0)} px`;
  return `${value.toFixed(1)} mm`;
}

/** @param {number} value @param {"px"|"mm"} unit */
export function area(value, unit) {
  if (unit === "px") return `${value.toFixed(0)} px²`;
  return value >= 100 ? `${(value / 100).toFixed(2)} cm²` : `${value.toFixed(1)} mm²`;
}

/** @param {Measurements} sizes @returns {[string, string, string][]} test id, name, value */
export function rows(sizes) {
  const { unit } = sizes;
  const bare = (/** @type {number} */ value) => length(value, unit).split(" ")[0];
  return [
    ["area", "Area", area(sizes.area, unit)],
    [
      "diameters",
      "Long × short",
      `${bare(sizes.long_diameter.length)} × ${length(sizes.short_diameter.length, unit)}`,
    ],
    ["circumference", "Circumference", length(sizes.ellipse?.circumference ?? sizes.perimeter, unit)],
  ];
}
