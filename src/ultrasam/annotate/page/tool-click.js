// Click: add to the current object or take away from it; a drag draws a box. The Box tool is the same, for boxes only.

/** @import {Hand, Pointer, Tool} from "./types.js" */

import { prompt } from "./edits.js";
import { nameOf, objectOf, state } from "./state.js";
import { clearPreview, wantPreview } from "./preview.js";
import { clamped, onImage, redraw, toScreen } from "./view.js";
import { drawBox } from "./scene.js";

const DRAG = 5; // CSS pixels: less is the tremble of a click

/** @type {Pointer|null} */
let from = null;
/** @type {Pointer|null} */
let to = null;

/** @param {Pointer} a @param {Pointer} b */
const far = (a, b) => Math.hypot(a.px - b.px, a.py - b.py) > DRAG;

/**
 * Whether this event adds to the object: the right button and Alt turn the toggle round.
 * @param {Hand} event
 */
export function adds(event) {
  return state.adding !== (event.button === 2 || (event.buttons & 2) !== 0 || event.altKey);
}

export const objectWords = () => {
  const object = objectOf(state.target.id);
  return object
    ? `“${nameOf(object)}”`
    : state.target.label
      ? `a new “${state.target.label}”`
      : "a new object";
};

/** @param {number} since */
function finishBox(since) {
  if (!from || !to) return;
  const [a, b] = [clamped(from), clamped(to)];
  const size = { width: state.scan?.width ?? 0, height: state.scan?.height ?? 0 };
  const x1 = Math.min(size.width, Math.max(a.x, b.x));
  const y1 = Math.min(size.height, Math.max(a.y, b.y));
  const [x0, y0] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  if (x1 - x0 >= 1 && y1 - y0 >= 1) prompt({ kind: "box", box: [x0, y0, x1, y1] }, since);
}

/** @param {Pick<Tool, "name"|"cursor"|"hint"|"pressed">} words @param {boolean} clicks @returns {Tool} */
const tool = (words, clicks) => ({
  ...words,
  down(at) {
    from = at;
    to = null;
  },
  move(at) {
    if (from && (to || far(from, at))) {
      to = at;
      clearPreview();
      redraw();
    }
  },
  up(at, event) {
    if (from && to) finishBox(event.timeStamp);
    else if (from && clicks && onImage(at))
      prompt({ kind: "click", x: at.x, y: at.y, positive: adds(event) }, event.timeStamp);
    from = to = null;
    redraw();
  },
  hover(at, event) {
    if (clicks && onImage(at)) wantPreview(at, adds(event));
    else clearPreview();
  },
  leave: clearPreview,
  cancel() {
    from = to = null;
    clearPreview();
    redraw();
  },
  draw() {
    if (from && to) drawBox(toScreen(from.x, from.y), toScreen(to.x, to.y));
  },
});

export const clickTool = tool(
  {
    name: "click",
    cursor: "crosshair",
    hint: () =>
      !objectOf(state.target.id)
        ? `Click on a structure to begin ${objectWords()}, or drag a box around it.`
        : state.adding
          ? `Click on ${objectWords()} to add, right-click or Alt+click to take away, or drag for a box around it.`
          : `Click on what must be left out of ${objectWords()}; drag for a box around it.`,
  },
  true,
);

export const boxTool = tool(
  {
    name: "box",
    cursor: "crosshair",
    hint: () => `Drag a box around ${objectWords()}, from corner to corner.`,
    pressed: () => from !== null,
  },
  false,
);
