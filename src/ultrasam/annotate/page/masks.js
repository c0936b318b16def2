// Masks as bits, row by row (Uint8Array of width * height, 0 or 1): COCO's RLE, outlines, polygons, brush strokes.
// Pure functions without the page, so they can be checked alone.

/** @import {Mask, Pair, Point} from "./types.js" */

/** @param {Mask} mask @returns {Uint8Array} */
export function decode({ size: [height, width], counts }) {
  const bits = new Uint8Array(width * height);
  let place = 0; // within the columns, as COCO counts
  let value = 0;
  for (const count of counts) {
    if (value) {
      let y = place % height;
      let at = y * width + (place - y) / height;
      for (let left = count; left > 0; left--) {
        bits[at] = 1;
        if (++y === height) {
          y = 0;
          at += 1 - (height - 1) * width;
        } else at += width;
      }
    }
    place += count;
    value ^= 1;
  }
  return bits;
}

/** @param {Uint8Array} bits @param {number} width @param {number} height @returns {Mask} */
export function encode(bits, width, height) {
  const counts = [];
  let value = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, at = x; y < height; y++, at += width) {
      if (bits[at] === value) run++;
      else {
        counts.push(run);
        value ^= 1;
        run = 1;
      }
    }
  }
  counts.push(run);
  return { size: [height, width], counts };
}

/** @param {Uint8Array} bits */
export function isEmpty(bits) {
  return !bits.includes(1);
}

/**
 * Union, or what is left without `stroke`.
 * @param {Uint8Array|null} base
 * @param {Uint8Array} stroke
 * @param {boolean} add
 */
export function combine(base, stroke, add) {
  const out = base ? base.slice() : new Uint8Array(stroke.length);
  const value = add ? 1 : 0;
  for (let at = 0; at < out.length; at++) if (stroke[at]) out[at] = value;
  return out;
}

/**
 * Whether a mask holds this point; reads the RLE without decoding it.
 * @param {Mask} mask
 * @param {number} x
 * @param {number} y
 */
export function holds({ size: [height, width], counts }, x, y) {
  const column = Math.floor(x);
  const row = Math.floor(y);
  if (column < 0 || row < 0 || column >= width || row >= height) return false;
  const wanted = column * height + row;
  let place = 0;
  for (let run = 0; run < counts.length; run++) {
    place += counts[run] ?? 0;
    if (wanted < place) return run % 2 === 1;
  }
  return false;
}

/**
 * The outlines of a mask, holes too: closed curves through the middles of the border pixels' outer edges, as flat
 * x, y lists. Touching corners count as connected. Straight runs keep only their ends.
 * @param {Uint8Array} bits
 * @param {number} width
 * @param {number} height
 * @returns {number[][]}
 */
export function outlines(bits, width, height) {
  const inside = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < width && y < height && bits[y * width + x] === 1;
  const seen = new Uint8Array(width * height); // upper edges already walked
  const curves = [];
  const first = bits.indexOf(1);
  const last = first < 0 ? first - 1 : bits.lastIndexOf(1); // of an empty mask, nothing
  for (let at = first; at <= last; at++) {
    if (!bits[at] || seen[at] || (at >= width && bits[at - width])) continue;
    curves.push(walk(at % width, Math.floor(at / width), inside, seen, width));
  }
  return curves;
}

const STEPS = /** @type {const} */ ([
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
]); // right, down, left, up
const LEFT_AHEAD = /** @type {const} */ ([
  [0, -1],
  [0, 0],
  [-1, 0],
  [-1, -1],
]); // the pixels before a corner,
const RIGHT_AHEAD = /** @type {const} */ ([
  [0, 0],
  [-1, 0],
  [-1, -1],
  [0, -1],
]); // by direction

/**
 * Once around, the mask at the right hand, from the upper edge of pixel (x, y).
 * @param {number} startX
 * @param {number} startY
 * @param {(x: number, y: number) => boolean} inside
 * @param {Uint8Array} seen
 * @param {number} width
 */
function walk(startX, startY, inside, seen, width) {
  const curve = [];
  let [x, y, direction, before] = [startX, startY, 0, -1];
  do {
    if (direction === 0) seen[y * width + x] = 1;
    const [stepX, stepY] = STEPS[/** @type {0} */ (direction)];
    const [middleX, middleY] = [x + stepX / 2, y + stepY / 2];
    x += stepX;
    y += stepY;
    const [leftX, leftY] = LEFT_AHEAD[/** @type {0} */ (direction)];
    const [rightX, rightY] = RIGHT_AHEAD[/** @type {0} */ (direction)];
    let next = direction;
    if (inside(x + leftX, y + leftY)) next = (direction + 3) % 4;
    else if (!inside(x + rightX, y + rightY)) next = (direction + 1) % 4;
    if (before !== direction || next !== direction) curve.push(middleX, middleY);
    before = direction;
    direction = next;
  } while (x !== startX || y !== startY || direction !== 0);
  return curve;
}

/**
 * The pixels whose middles lie within a polygon (even-odd rule).
 * @param {Point[]} corners
 * @param {number} width
 * @param {number} height
 */
export function fillPolygon(corners, width, height) {
  const bits = new Uint8Array(width * height);
  const rows = corners.map(({ y }) => y);
  const first = Math.max(0, Math.ceil(Math.min(...rows) - 0.5));
  const last = Math.min(height - 1, Math.floor(Math.max(...rows) - 0.5));
  for (let row = first; row <= last; row++) {
    const y = row + 0.5;
    const cuts = [];
    for (let here = 0; here < corners.length; here++) {
      const a = /** @type {Point} */ (corners[here]);
      const b = /** @type {Point} */ (corners[(here + 1) % corners.length]);
      if (a.y <= y !== b.y <= y) cuts.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
    }
    cuts.sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < cuts.length; pair += 2) {
      const from = Math.max(0, Math.ceil(/** @type {number} */ (cuts[pair]) - 0.5));
      const to = Math.min(width, Math.ceil(/** @type {number} */ (cuts[pair + 1]) - 0.5));
      if (to > from) bits.fill(1, row * width + from, row * width + to);
    }
  }
  return bits;
}

/**
 * Set the pixels that a round brush covers on its way: those whose middles are at most `radius` from the line, and
 * the pixel under its middle, so the smallest brush draws too.
 * @param {Uint8Array} bits changed in place
 * @param {number} width
 * @param {number} height
 * @param {Point} from
 * @param {Point} to
 * @param {number} radius
 * @returns {[number, number, number, number]} the box of pixels that may have changed; empty where x1 <= x0
 */
export function stamp(bits, width, height, from, to, radius) {
  const x0 = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
  const y0 = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const x1 = Math.min(width, Math.ceil(Math.max(from.x, to.x) + radius));
  const y1 = Math.min(height, Math.ceil(Math.max(from.y, to.y) + radius));
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const [px, py] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const [ox, oy] = [px - along * dx, py - along * dy];
      if (ox * ox + oy * oy <= radius * radius) bits[y * width + x] = 1;
    }
  }
  for (const { x, y } of [from, to]) {
    if (x >= 0 && y >= 0 && x < width && y < height) bits[Math.floor(y) * width + Math.floor(x)] = 1;
  }
  return [x0, y0, x1, y1];
}

/** The colour "#rrggbb" as three numbers. @param {string} colour @returns {[number, number, number]} */
export function rgb(colour) {
  const number = Number.parseInt(colour.slice(1), 16) || 0;
  return [(number >> 16) & 255, (number >> 8) & 255, number & 255];
}

/** @param {Pair|number[]} a @param {Pair|number[]} b @param {Pair|null} spacing mm per pixel in x and y */
export function distance(a, b, spacing) {
  const [sx, sy] = spacing ?? [1, 1];
  return Math.hypot(((b[0] ?? 0) - (a[0] ?? 0)) * sx, ((b[1] ?? 0) - (a[1] ?? 0)) * sy);
}
