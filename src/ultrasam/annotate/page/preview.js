// The mask that a click here would give, while the pointer rests. One request at a time, the newest place wins.

/** @import {Pointer} from "./types.js" */

import * as api from "./api.js";
import { classThere, emit, locked, settings, state, targetColour } from "./state.js";
import { versionOf } from "./store.js";

const REST_MS = 50; // a pointer that moves on asks for nothing

/** @type {{x: number, y: number, positive: boolean}|null} */
let wanted = null;
let underway = false;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;

/** @param {{x: number, y: number, positive: boolean}} place */
const keyOf = ({ x, y, positive }) =>
  `${state.scan?.id} ${state.frame} ${state.target.id} ${versionOf(state.frame, state.target.id)} ${x.toFixed(1)} ${y.toFixed(1)} ${positive}`;

/** @param {Pointer} at @param {boolean} positive */
export function wantPreview(at, positive) {
  if (!settings.preview) return;
  wanted = { x: at.x, y: at.y, positive };
  clearTimeout(timer);
  timer = setTimeout(send, REST_MS);
}

export function clearPreview() {
  wanted = null;
  clearTimeout(timer);
  if (state.preview) {
    state.preview = null;
    emit("view");
  }
}

/** The time from the choice of a scan to the first preview in it, for whoever measures the page. */
function measureOpen() {
  if (!performance.getEntriesByName("open-scan").length) return;
  requestAnimationFrame(() => {
    performance.measure("open-to-preview", "open-scan");
    performance.clearMarks("open-scan");
  });
}

async function send() {
  const place = wanted;
  const scan = state.scan;
  if (!place || !scan || underway || state.waiting || state.playing || state.link !== "up" || locked())
    return;
  if (!state.frames.has(state.frame)) return; // its version is not known yet
  const { target, frame } = state;
  const key = keyOf(place);
  if (state.preview?.key === key) return;
  if (!place.positive && !state.frames.get(frame)?.has(target.id ?? -1)) return; // nothing to take away from
  underway = true;
  try {
    const at = {
      scan: scan.id,
      frame,
      axis: scan.axis,
      object: target.id,
      base: versionOf(frame, target.id),
      label: classThere(target.label),
      job: "", // nothing is kept of it
    };
    const answer = await api.ask(at, { kind: "click", ...place }, true);
    const mask = answer.annotations.find((annotation) => annotation.frame === frame)?.mask;
    // Shown only where the answer is still about what a click would do.
    if (
      mask &&
      wanted &&
      key === keyOf(place) &&
      !state.waiting &&
      target === state.target &&
      settings.preview
    ) {
      state.preview = { frame, target, mask, colour: targetColour(target), key };
      emit("view");
      measureOpen();
    }
  } catch {
    // a preview is a courtesy: a click at the same place says what is wrong
  } finally {
    underway = false;
    if (wanted && wanted !== place) timer = setTimeout(send, 0);
  }
}
