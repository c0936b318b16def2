// The frames as bitmaps: those around the one that is shown are fetched ahead, the oldest go when there are too many.

import * as api from "./api.js";
import { emit, state } from "./state.js";
import { loadFrame } from "./store.js";

const BYTES = 200e6;
const AHEAD = 12; // frames in the direction of the last step
const BEHIND = 4;
const AT_ONCE = 2; // fetched ahead at the same time while a clip plays, else one
const REST_MS = 250; // the shown frame, its preview and the clicks go first

/** @type {Map<number, ImageBitmap>} */
const bitmaps = new Map(); // the one used last is last
/** @type {Map<number, Promise<void>>} */
const loading = new Map();
/** @type {Map<number, string>} */
const failed = new Map();
let abort = new AbortController();
let direction = 1;
let last = 0;
let ahead = 0;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;

/** Forget all bitmaps: another scan or axis. */
export function forgetImages() {
  abort.abort();
  abort = new AbortController();
  for (const bitmap of bitmaps.values()) bitmap.close();
  bitmaps.clear();
  loading.clear();
  failed.clear();
  ahead = 0;
}

/** @param {number} frame */
export function imageOf(frame) {
  const bitmap = bitmaps.get(frame);
  if (bitmap) {
    bitmaps.delete(frame);
    bitmaps.set(frame, bitmap);
  }
  return bitmap ?? null;
}

/** Why a frame cannot be shown, "" where nothing is wrong. @param {number} frame */
export const imageError = (frame) => failed.get(frame) ?? "";

/** Whether a frame is at hand, without counting as a use. @param {number} frame */
export const hasImage = (frame) => bitmaps.has(frame);

/** Fetch the frame that is shown, then those around it. */
export function fetchImages() {
  const scan = state.scan;
  if (!scan) return;
  if (state.frame !== last) direction = state.frame > last || state.playing ? 1 : -1;
  last = state.frame;
  clearTimeout(timer);
  void load(state.frame, false).then(() => (state.playing ? fetchAhead() : fetchLater()));
}

function fetchLater() {
  clearTimeout(timer);
  timer = setTimeout(fetchAhead, REST_MS);
}

function fetchAhead() {
  const scan = state.scan;
  if (!scan) return;
  if (state.waiting && !state.playing) {
    fetchLater();
    return;
  }
  const each = scan.width * scan.height * 4;
  const room = Math.max(1, Math.floor(BYTES / each) - 1);
  for (let step = 1; step <= Math.min(AHEAD + BEHIND, room) && ahead < (state.playing ? AT_ONCE : 1); step++) {
    const frame = step <= AHEAD ? last + step * direction : last - (step - AHEAD) * direction;
    const there = state.playing ? (frame + scan.frames) % scan.frames : frame; // a clip plays round and round
    if (there < 0 || there >= scan.frames || bitmaps.has(there) || loading.has(there) || failed.has(there))
      continue;
    ahead++;
    loadFrame(there).catch(() => {}); // its masks too, or they would come late when the clip plays
    const mine = abort;
    void load(there, true).finally(() => {
      if (mine !== abort) return;
      ahead--;
      fetchAhead();
    });
  }
}

/** @param {number} frame @param {boolean} early @returns {Promise<void>} */
function load(frame, early) {
  if (bitmaps.has(frame)) return Promise.resolve();
  const under = loading.get(frame);
  if (under) return under;
  const mine = abort;
  const started = fetchOne(frame, early, mine).finally(() => {
    if (mine === abort) loading.delete(frame);
  });
  loading.set(frame, started);
  return started;
}

/** @param {number} frame @param {boolean} early @param {AbortController} mine */
async function fetchOne(frame, early, mine) {
  const scan = state.scan;
  if (!scan) return;
  try {
    const blob = await api.picture(scan.id, frame, scan.axis, mine.signal, early);
    // Grey values as they are in the file: no colour profile of the screen may change them.
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    if (mine !== abort) {
      bitmap.close();
      return;
    }
    failed.delete(frame);
    bitmaps.set(frame, bitmap);
    dropOld();
    emit("view");
  } catch (error) {
    if (mine !== abort) return;
    if (error instanceof api.ApiError && error.unreached) return; // asked again when the server answers
    failed.set(frame, error instanceof Error ? error.message : "This frame cannot be shown.");
    emit("view");
  }
}

function dropOld() {
  let bytes = 0;
  for (const bitmap of bitmaps.values()) bytes += bitmap.width * bitmap.height * 4;
  for (const [frame, bitmap] of bitmaps) {
    if (bytes <= BYTES) break;
    if (frame === state.frame) continue;
    bytes -= bitmap.width * bitmap.height * 4;
    bitmaps.delete(frame);
    bitmap.close();
  }
}
