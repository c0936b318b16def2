// The page's copy of what is annotated in the open scan: filled by requests, changed by the server's answers only.

/** @import {Annotation, Change, FrameAnswer, Mark, OpenScan} from "./types.js" */

import * as api from "./api.js";
import { awaited, whenIdle } from "./queue.js";
import { annotationOf, classThere, emit, objectOf, state } from "./state.js";

let epoch = 0; // counts what makes an answer that is under way stale
/** @type {Map<number, Promise<void>>} */
const loading = new Map();
/** Frames that the server would not give. @type {Set<number>} */
const refused = new Set();
/** @type {(scan: number) => void} */
let turn = () => {};

/** @param {(scan: number) => void} listener is told where the server cuts a volume along another axis now */
export function onOtherAxis(listener) {
  turn = listener;
}

/** Whether the annotations of a frame cannot be had. @param {number} frame */
export const frameRefused = (frame) => refused.has(frame);

/** Forget all frames: another tab, tracking or an import may have changed any. */
export function forgetFrames() {
  epoch++;
  state.frames.clear();
  loading.clear();
  refused.clear();
}

/**
 * Fetch the annotations of a frame unless they are known.
 * @param {number} frame
 * @returns {Promise<void>}
 */
export function loadFrame(frame) {
  if (state.frames.has(frame)) return Promise.resolve();
  if (state.scan && !state.scan.timeline.some((mark) => mark.frame === frame)) {
    keep(frame, []); // nothing to ask for: most frames of a clip are empty
    if (frame === state.frame) emit("annotations");
    return Promise.resolve();
  }
  const under = loading.get(frame);
  if (under) return under;
  const started = fetchFrame(frame).finally(() => {
    if (loading.get(frame) === started) loading.delete(frame);
  });
  loading.set(frame, started);
  return started;
}

/** @param {number} frame */
async function fetchFrame(frame) {
  const scan = state.scan;
  if (!scan) return;
  for (;;) {
    const begun = epoch;
    let answer;
    try {
      answer = await api.frameOf(scan.id, frame, scan.axis);
    } catch (error) {
      if (state.scan === scan) refuse(scan, frame, error);
      return;
    }
    if (state.scan !== scan) return;
    if (begun !== epoch) continue; // something changed meanwhile: this answer may be older
    keep(frame, answer.annotations);
    emit("annotations");
    return;
  }
}

/** @param {OpenScan} scan @param {number} frame @param {unknown} error */
function refuse(scan, frame, error) {
  if (error instanceof api.ApiError && error.unreached) throw error; // asked again when the server answers
  refused.add(frame);
  emit("annotations");
  if (!isOtherAxis(error)) throw error;
  turn(scan.id);
}

/** @param {unknown} error */
const isOtherAxis = (error) => error instanceof api.ApiError && error.code === "axis";

/** @param {number} frame @param {Annotation[]} annotations */
function keep(frame, annotations) {
  refused.delete(frame);
  state.frames.set(frame, new Map(annotations.map((annotation) => [annotation.object, annotation])));
}

/**
 * Fetch the scan and this frame again, after a conflict or a change in another tab. An answer from before this tab's
 * own steps would undo them on the page: it is asked for again.
 * @param {boolean} [inTurn]  asked for by the step that is sent now; else all that wait go first
 */
export async function refetch(inTurn = false) {
  const before = state.scan;
  if (!before) return;
  const scan = await fetchScan(before, inTurn);
  if (!scan || state.scan !== before) return;
  state.scan = scan;
  forgetFrames();
  forgetLostTarget();
  await loadFrame(state.frame);
  await matchClasses(scan.classesVersion);
  updateEntry();
  emit("scan", "annotations", "target");
}

/** @param {OpenScan} before @param {boolean} inTurn @returns {Promise<OpenScan|null>} null: another one is open */
async function fetchScan(before, inTurn) {
  for (;;) {
    if (!inTurn) await whenIdle();
    if (state.scan !== before) return null;
    const begun = epoch;
    try {
      const scan = await api.openScan(before.id, before.axis);
      if (begun === epoch && (inTurn || !state.waiting)) return scan;
    } catch (error) {
      if (!isOtherAxis(error)) throw error;
      turn(before.id);
      return null;
    }
  }
}

/** Fetch the project again, with its classes: an import or another tab may have changed them. */
export async function refetchProject() {
  state.project = await api.project();
  updateEntry();
  state.label = classThere(state.label);
  state.target.label = classThere(objectOf(state.target.id)?.label ?? state.target.label);
  emit("project", "target", "annotations");
}

/** @param {number} version of the classes, as the server has it now */
export async function matchClasses(version) {
  if (state.project && version !== state.project.classesVersion) await refetchProject();
}

/**
 * Take over an answer. `wide`: it may be about frames that it does not list.
 * @param {number} scan
 * @param {Change} change
 * @param {boolean} [wide]
 */
export function apply(scan, change, wide = false) {
  if (state.scan?.id !== scan) return;
  epoch++;
  const timeline = change.timeline ?? changedMarks(state.scan.timeline, change);
  if (wide) {
    for (const frame of [...state.frames.keys()]) if (frame !== change.frame) state.frames.delete(frame);
    if (change.frame !== null && !matches(change, timeline)) state.frames.delete(change.frame);
  }
  for (const { object, frame } of change.removed) state.frames.get(frame)?.delete(object);
  for (const annotation of change.annotations)
    state.frames.get(annotation.frame)?.set(annotation.object, annotation);
  // Not its `seq`: between two steps of this tab another one may have made one, which only `changes` tells.
  Object.assign(state.scan, {
    objects: change.objects ?? state.scan.objects,
    timeline,
    done: change.done,
    undo: change.undo,
    redo: change.redo,
  });
  forgetLostTarget();
  updateEntry();
  emit("scan", "annotations", "target");
}

/** @param {Mark[]} timeline @param {Change} change one that lists what is different */
function changedMarks(timeline, { marks = [], removed }) {
  const keyOf = (/** @type {{object: number, frame: number}} */ { object, frame }) => `${object} ${frame}`;
  const gone = new Set([...marks, ...removed].map(keyOf));
  return [...timeline.filter((mark) => !gone.has(keyOf(mark))), ...marks];
}

/** Whether the frame, with this change, holds what the timeline says. @param {Change} change @param {Mark[]} timeline */
function matches(change, timeline) {
  const known = new Set(state.frames.get(change.frame ?? -1)?.keys());
  for (const { object, frame } of change.removed) if (frame === change.frame) known.delete(object);
  for (const { object, frame } of change.annotations) if (frame === change.frame) known.add(object);
  const marks = timeline.filter(({ frame }) => frame === change.frame);
  return marks.length === known.size && marks.every(({ object }) => known.has(object));
}

/**
 * One frame of a run of tracking: shown at once, sizes follow at the end.
 * @param {number} frame
 * @param {Annotation[]} annotations
 */
export function applyTracked(frame, annotations) {
  if (!state.scan) return;
  const known = state.frames.get(frame);
  const objects = new Set(annotations.map(({ object }) => object));
  for (const annotation of annotations) known?.set(annotation.object, annotation);
  const kept = state.scan.timeline.filter((mark) => mark.frame !== frame || !objects.has(mark.object));
  const marks = annotations.map(({ object, origin, score, doubt, checked }) => ({
    object,
    frame,
    origin,
    score,
    doubt,
    checked,
  }));
  state.scan.timeline = [...kept, ...marks];
  emit("annotations");
}

function forgetLostTarget() {
  const { id, label } = state.target;
  if (id === null || objectOf(id)) return;
  // Steps that wait begin the object again: what is clicked next belongs to it too.
  if (awaited(state.target)) state.target.id = null;
  else state.target = { id: null, label: state.label ?? label };
}

/** The line of this scan in the list says what the server would say. */
export function updateEntry() {
  const scan = state.scan;
  const entry = state.project?.scans.find(({ id }) => id === scan?.id);
  if (!scan || !entry) return;
  const scores = scan.timeline.flatMap(({ checked, doubt, score }) => (checked ? [1] : doubt ? [0] : (score ?? [])));
  entry.objects = scan.objects.length;
  entry.frames = new Set(scan.timeline.map(({ frame }) => frame)).size;
  entry.least = scores.length ? Math.min(...scores) : null;
  entry.done = scan.done;
}

/** @param {number} frame @param {number|null} object */
export function versionOf(frame, object) {
  return annotationOf(frame, object)?.version ?? null;
}

/** @returns {FrameAnswer["annotations"]} those of the frame that is shown */
export function shownAnnotations() {
  return [...(state.frames.get(state.frame)?.values() ?? [])];
}
