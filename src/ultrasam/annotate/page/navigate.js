// Which scan and which frame is shown.

import * as api from "./api.js";
import { forgetMessages, say, sayError } from "./dialogs.js";
import { fetchImages, forgetImages } from "./images.js";
import { resetLevels } from "./levels.js";
import { whenIdle } from "./queue.js";
import { emit, state, unsure } from "./state.js";
import { forgetFrames, loadFrame, matchClasses, onOtherAxis, refetch } from "./store.js";
import { fit } from "./view.js";

/**
 * @param {number} id
 * @param {{frame?: number, axis?: string|null}} [where]
 */
export async function openScan(id, { frame = 0, axis = null } = {}) {
  if (state.tracking) {
    say("Tracking is running: stop it first.");
    return;
  }
  performance.clearMarks("open-scan");
  performance.mark("open-scan");
  state.playing = false;
  state.wanted = id;
  state.opening = true;
  emit("scan", "playing");
  await whenIdle(); // the changes that wait belong to the scan that is open now
  if (state.wanted !== id) return;
  const before = state.scan?.id;
  try {
    const scan = await api.openScan(id, axis);
    if (state.wanted !== id) return;
    state.scan = scan;
    state.scanError = "";
    state.frame = Math.min(Math.max(0, frame), scan.frames - 1);
    matchClasses(scan.classesVersion).catch(() => {}); // the banner tells, and the next poll tries again
  } catch (error) {
    if (state.wanted !== id) return;
    state.opening = false;
    if (error instanceof api.ApiError && state.scan && (error.code === "axis" || error.unreached)) {
      // What is open stays open: along its axis, or until the server answers and the wanted scan is tried again.
      if (!error.unreached) sayError(error.message);
      emit("scan");
      return;
    }
    state.scan = null;
    state.scanError = error instanceof Error ? error.message : String(error);
  }
  state.opening = false;
  if (before !== id) forgetMessages();
  state.hidden.clear();
  forgetFrames();
  forgetImages();
  resetLevels();
  takeTarget();
  emit("scan", "target", "frame", "annotations");
  fit();
  showFrame(state.frame);
}

// A volume without annotations has no axis of its own: another tab, or an undone step, may have given it one.
onOtherAxis((scan) => {
  if (!state.opening && state.wanted === scan) void openScan(scan);
});

const marksHere = () => state.scan?.timeline.filter((mark) => mark.frame === state.frame) ?? [];

/** Go on with what is on this frame, first what is unsure, else with the first object; in a new scan, with a new one. */
function takeTarget() {
  const objects = state.scan?.objects ?? [];
  const here = (marksHere().find(unsure) ?? marksHere()[0])?.object;
  const object = objects.find(({ id }) => id === here) ?? objects[0];
  state.target = { id: object?.id ?? null, label: object?.label ?? state.label };
  state.preview = null;
}

/** @param {number} frame moved into the scan */
export function showFrame(frame) {
  const scan = state.scan;
  if (!scan) return;
  state.frame = Math.min(Math.max(0, frame), scan.frames - 1);
  state.preview = null;
  emit("frame");
  fetchImages();
  loadFrame(state.frame).catch((error) => {
    if (!(error instanceof api.ApiError && error.unreached)) sayError(error.message);
  });
}

/** The server answers again: fetch what could not be fetched, and what may have changed meanwhile. */
export function retry() {
  if (state.wanted !== null && state.wanted !== state.scan?.id) void openScan(state.wanted);
  else if (state.waiting || state.tracking)
    showFrame(state.frame); // the changes that wait look for themselves
  else
    void refetch().then(
      () => showFrame(state.frame),
      () => {},
    );
}

/** @param {1|-1} way */
export function openNext(way) {
  const scans = state.project?.scans ?? [];
  const here = scans.findIndex(({ id }) => id === state.wanted);
  const next = scans[here + way];
  if (next) void openScan(next.id);
  else say(way > 0 ? "This is the last scan." : "This is the first scan.");
}

export async function openUncertain() {
  try {
    await whenIdle();
    const shown = state.scan?.id === state.wanted ? state.frame : null;
    const { scan, frame, why } = await api.nextUncertain(state.wanted, shown);
    if (scan === null) {
      say(why || "Nothing is left that is uncertain.");
      return;
    }
    if (scan === state.scan?.id) {
      showFrame(frame);
      if (marksHere().some(unsure)) takeTarget();
      emit("target", "annotations");
    } else await openScan(scan, { frame });
    say(why);
  } catch (error) {
    if (error instanceof api.ApiError && !error.unreached) sayError(error.message);
  }
}
