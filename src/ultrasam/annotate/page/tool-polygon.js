// Polygon: corner by corner, closed with Enter, a double click or a click on the first corner.

/** @import {Pointer, Tool} from "./types.js" */

import { paint } from "./edits.js";
import { fillPolygon } from "./masks.js";
import { state } from "./state.js";
import { adds, objectWords } from "./tool-click.js";
import { clamped, context, redraw, toScreen } from "./view.js";

const NEAR = 9; // CSS pixels within which a click means the first corner
const DOUBLE_MS = 400;

/** @type {Pointer[]} */
let corners = [];
/** @type {Pointer|null} */
let loose = null;
let adding = true;
let lastClick = 0;

function reset() {
  corners = [];
  loose = null;
  redraw();
}

/** @param {number} since */
function close(since) {
  const { width, height } = state.scan ?? { width: 0, height: 0 };
  if (corners.length >= 3) paint(fillPolygon(corners, width, height), width, height, adding, since);
  reset();
}

/** @param {Pointer} a @param {Pointer} b */
function near(a, b) {
  const [[ax, ay], [bx, by]] = [toScreen(a.x, a.y), toScreen(b.x, b.y)];
  return Math.hypot(ax - bx, ay - by) <= NEAR;
}

/** @type {Tool} */
export const polygonTool = {
  name: "polygon",
  cursor: "crosshair",
  hint: () =>
    corners.length
      ? "Click the next corner; Enter or a double click closes it, Backspace takes one back, Esc starts again."
      : `Click corner by corner around a part to ${state.adding ? "add to" : "cut out of"} ${objectWords()}; with Alt it ${state.adding ? "cuts out" : "adds"}.`,
  up(at, event) {
    const corner = clamped(at);
    const first = corners[0];
    const last = corners[corners.length - 1];
    // A double click, or however slowly the very same place again: so the keyboard pointer closes it.
    const same = last && last.x === corner.x && last.y === corner.y;
    const twice = last && near(last, corner) && (same || event.timeStamp - lastClick < DOUBLE_MS);
    lastClick = event.timeStamp;
    if (!first) adding = adds(event);
    if (corners.length >= 3 && first && (twice || near(first, corner))) {
      if (event.altKey) adding = !state.adding;
      close(event.timeStamp);
      return;
    }
    if (!twice) corners.push(corner);
    redraw();
  },
  hover(at) {
    loose = clamped(at);
    if (corners.length) redraw();
  },
  move(at) {
    loose = clamped(at);
    redraw();
  },
  key(key, alt) {
    if (!corners.length) return false;
    if (key === "Escape") reset();
    else if (key === "Backspace") corners.pop();
    else if (key === "Enter") {
      if (alt) adding = !state.adding;
      close(performance.now());
    } else return false;
    redraw();
    return true;
  },
  begun: () => (corners.length ? "The polygon" : ""),
  cancel: reset,
  draw() {
    if (!corners.length) return;
    const path = new Path2D();
    for (const { x, y } of corners) path.lineTo(...toScreen(x, y));
    if (loose) path.lineTo(...toScreen(loose.x, loose.y));
    context.fillStyle = adding ? "rgba(255, 255, 255, 0.12)" : "rgba(0, 0, 0, 0.35)";
    context.fill(path);
    context.strokeStyle = "rgba(0, 0, 0, 0.65)";
    context.lineWidth = 3.5;
    context.stroke(path);
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.5;
    context.setLineDash(adding ? [] : [5, 4]);
    context.stroke(path);
    context.setLineDash([]);
    corners.forEach(({ x, y }, place) => {
      const [px, py] = toScreen(x, y);
      context.fillStyle = place ? "#ffffff" : "#F0E442";
      context.fillRect(px - 3.5, py - 3.5, 7, 7);
    });
  },
};
