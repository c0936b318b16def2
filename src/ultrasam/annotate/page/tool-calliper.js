// Calliper, as on a scanner: the long axis, then the short axis, with their lengths while they are drawn.

/** @import {Pair, Pointer, Tool} from "./types.js" */

import { prompt } from "./edits.js";
import { distance } from "./masks.js";
import { length } from "./measure.js";
import { tag } from "./scene.js";
import { state } from "./state.js";
import { objectWords } from "./tool-click.js";
import { clamped, context, onImage, redraw, toScreen } from "./view.js";

/** @type {Pointer[]} */
let ends = []; // up to four
/** @type {Pointer|null} */
let loose = null; // the end at the pointer
let pressed = false;
/** @type {Pointer|null} */
let start = null;

function reset() {
  ends = [];
  loose = start = null;
  pressed = false;
  redraw();
}

/**
 * The scale where these points lie: that of the frame, or of the region that holds them.
 * @param {Pointer[]} points
 * @returns {Pair|null}
 */
function spacingAt(points) {
  const scan = state.scan;
  if (!scan) return null;
  const region = scan.regions.find(({ box: [x0 = 0, y0 = 0, x1 = 0, y1 = 0] }) =>
    points.every(({ x, y }) => x >= x0 && x <= x1 && y >= y0 && y <= y1),
  );
  return scan.spacing ?? region?.spacing ?? null;
}

/** @param {number} since */
function finish(since) {
  const four = ends.map(({ x, y }) => [x, y]);
  reset();
  prompt({ kind: "calliper", ends: four }, since);
}

/** @type {Tool} */
export const calliperTool = {
  name: "calliper",
  cursor: "crosshair",
  hint: () =>
    ends.length < 2
      ? `Drag the long axis of ${objectWords()}, from edge to edge.`
      : "Now drag the short axis across it. Esc starts again.",
  down(at) {
    pressed = true;
    if (ends.length % 2 === 0) {
      if (!onImage(at)) return;
      ends.push(clamped(at));
      start = at;
    }
    loose = clamped(at);
    redraw();
  },
  move(at) {
    loose = clamped(at);
    redraw();
  },
  hover(at) {
    if (ends.length % 2) {
      loose = clamped(at);
      redraw();
    }
  },
  up(at, event) {
    pressed = false;
    // A click instead of a drag: the next click is the other end.
    const still = start && Math.hypot(at.px - start.px, at.py - start.py) <= 5;
    start = null;
    if (ends.length % 2 === 0 || still) return;
    const end = clamped(at);
    const from = ends[ends.length - 1];
    if (from && distance([from.x, from.y], [end.x, end.y], null) < 2) return;
    ends.push(end);
    loose = null;
    if (ends.length === 4) finish(event.timeStamp);
    redraw();
  },
  key(key) {
    if (key !== "Escape" || !ends.length) return false;
    reset();
    return true;
  },
  begun: () => (ends.length ? "The calliper" : ""),
  cancel: reset,
  draw() {
    const points = loose && ends.length % 2 ? [...ends, loose] : ends;
    for (let at = 0; at + 1 < points.length; at += 2) {
      const [a, b] = [/** @type {Pointer} */ (points[at]), /** @type {Pointer} */ (points[at + 1])];
      drawAxis(toScreen(a.x, a.y), toScreen(b.x, b.y));
      const spacing = spacingAt(points);
      const measured = distance([a.x, a.y], [b.x, b.y], spacing);
      const [bx, by] = toScreen(b.x, b.y);
      tag(
        `${at ? "short" : "long"}  ${length(measured, spacing ? "mm" : "px")}`,
        bx,
        by + (pressed ? 26 : 20),
        "#F0E442",
      );
    }
  },
};

/** A dashed line with a cross at each end, as scanners draw it. @param {Pair} a @param {Pair} b */
export function drawAxis(a, b) {
  const cross = new Path2D();
  for (const [x, y] of [a, b]) {
    cross.moveTo(x - 7, y);
    cross.lineTo(x + 7, y);
    cross.moveTo(x, y - 7);
    cross.lineTo(x, y + 7);
  }
  const line = new Path2D();
  line.moveTo(...a);
  line.lineTo(...b);
  context.strokeStyle = "rgba(0, 0, 0, 0.65)";
  context.lineWidth = 3.5;
  context.stroke(cross);
  context.stroke(line);
  context.strokeStyle = "#F0E442";
  context.lineWidth = 1.75;
  context.stroke(cross);
  context.setLineDash([3, 4]);
  context.stroke(line);
  context.setLineDash([]);
}
