// What a person does to the annotations, as changes in the queue. The base of each change is looked up when it is
// sent, not when it is made: then the answers to those before it are known.

/** @import {Change, Prompt, Stroke, Target} from "./types.js" */
/** @import {Place} from "./api.js" */

import * as api from "./api.js";
import { askYesNo, forgetMessages, say, sayError } from "./dialogs.js";
import { bitsOf } from "./layers.js";
import { combine, encode, isEmpty } from "./masks.js";
import { openScan, showFrame } from "./navigate.js";
import { dropGroup, enqueue } from "./queue.js";
import { annotationOf, classThere, emit, locked, objectOf, state } from "./state.js";
import { apply, loadFrame, refetch, versionOf } from "./store.js";

/**
 * @typedef {object} Edit
 * @property {Target} [target]  of a change to one object on this frame
 * @property {(at: Place) => Promise<Change|null>} send  null: there was nothing to do
 * @property {boolean} [wide]  may change frames that the answer does not list
 * @property {(change: Change) => void} [then]
 * @property {() => void} [settled]
 * @property {number} [since]  time of the event that asked for it, for click-to-paint
 * @property {boolean} [asks]  nothing of the user's is lost where it fails
 * @property {boolean} [follow]  go to the frame that the answer is about
 */

/** @param {Edit} edit @returns {boolean} false where it is refused now */
function change(edit) {
  const why = locked();
  if (why || !state.scan) {
    say(why);
    return false;
  }
  const { id: scan, axis } = state.scan;
  const frame = state.frame;
  const { target } = edit;
  forgetMessages(`frame ${frame}`);
  const job = api.freshId();
  /** @type {Place|null} */
  let sent = null;

  /** @returns {Place} */
  const place = () => {
    if (target && target.id !== null && !objectOf(target.id)) target.id = null; // undone meanwhile: begin it again
    const object = target?.id ?? null;
    const label = target ? classThere(target.label) : null;
    return { scan, frame, axis, object, base: versionOf(frame, object), label, job };
  };
  /** A new object has its number. Its class may have been chosen while the answer was under way. @param {number} id */
  const born = (id) => {
    if (!target || target.id !== null) return;
    target.id = id;
    if (target.label !== null && target.label !== sent?.label) changeObject(id, { label: target.label });
  };
  enqueue({
    ...(target ? { group: target } : {}),
    async send() {
      if (target) await loadFrame(frame);
      sent = place();
      const answer = await edit.send(sent);
      state.saved = "saved";
      if (!answer) return;
      if (answer.axis && state.scan?.id === scan && answer.axis !== state.scan.axis) {
        // The frames that the page has are those of another axis: nothing of the answer fits them.
        if (state.wanted === scan) void openScan(scan, { axis: answer.axis, frame: answer.frame ?? 0 });
        return;
      }
      if (answer.object !== null) born(answer.object);
      state.serverTime = answer.ms;
      edit.settled?.(); // before the answer is drawn, or both would be
      apply(scan, answer, edit.wide);
      edit.then?.(answer);
      const there = edit.follow && answer.frame !== null ? answer.frame : state.frame;
      if (there !== state.frame || edit.wide) showFrame(there);
      if (edit.since !== undefined) measurePaint(edit.since);
    },
    async arrived() {
      const { arrived } = await api.changes(scan, state.scan?.seq ?? 0, job);
      if (!arrived) return false;
      const before = new Set(state.scan?.objects.map(({ id }) => id));
      await refetch(true);
      // The first new one on this frame: what other tabs began since then came later.
      const object = state.scan?.objects.find(({ id }) => !before.has(id) && annotationOf(frame, id));
      if (object) born(object.id);
      state.saved = "saved";
      emit("target", "annotations");
      return true;
    },
    async failed(error) {
      if (!edit.asks) state.saved = "last step not saved";
      if (error instanceof api.ApiError && error.code === "conflict") {
        if (target) dropGroup(target);
        sayError("Changed in another tab; your last step was not applied.");
      } else sayError(error.message);
      await refetch(true).catch(() => {}); // the banner tells, and the next poll tries again
    },
    settled: edit.settled ?? (() => {}),
  });
  return true;
}

/** The time until the answer is on the screen, for whoever measures the page. @param {number} since */
function measurePaint(since) {
  requestAnimationFrame(() =>
    performance.measure("click-to-paint", { start: since, end: performance.now() }),
  );
}

/** @param {Prompt} asked @param {number} since */
export function prompt(asked, since) {
  const target = state.target;
  const begun =
    annotationOf(state.frame, target.id) ||
    [...state.clicks, ...state.strokes].some((other) => other.target === target);
  if (asked.kind === "click" && !asked.positive && !begun) {
    say("There is nothing to take away from yet: click on the object first.");
    return;
  }
  const pending =
    asked.kind === "click"
      ? { frame: state.frame, target, x: asked.x, y: asked.y, positive: asked.positive }
      : null;
  if (pending) state.clicks.push(pending);
  change({
    target,
    since,
    send: (at) => api.ask(at, asked, false),
    settled() {
      state.clicks = state.clicks.filter((click) => click !== pending);
      if (state.preview?.target === target) state.preview = null;
      emit("view");
    },
  }) || (state.clicks = state.clicks.filter((click) => click !== pending));
  emit("view");
}

/**
 * A stroke or polygon: shown at once, joined with the mask that the server knows when it is sent.
 * @param {Uint8Array} bits
 * @param {number} width
 * @param {number} height
 * @param {boolean} add
 * @param {number} since
 */
export function paint(bits, width, height, add, since) {
  const target = state.target;
  if (isEmpty(bits)) return;
  if (!add && target.id === null && !state.strokes.some((stroke) => stroke.target === target)) {
    say("There is nothing to erase: choose an object first.");
    return;
  }
  /** @type {Stroke} */
  const stroke = { frame: state.frame, target, bits, width, height, add };
  const settled = () => {
    state.strokes = state.strokes.filter((other) => other !== stroke);
    emit("view");
  };
  state.strokes.push(stroke);
  const accepted = change({
    target,
    since,
    settled,
    send(at) {
      const known = annotationOf(at.frame, at.object);
      const whole = combine(known ? bitsOf(known) : null, bits, add);
      if (!isEmpty(whole)) return api.putMask(at, encode(whole, width, height));
      return known ? api.removeHere(at) : Promise.resolve(null);
    },
  });
  if (!accepted) settled();
  emit("view");
}

export function deleteHere() {
  const target = state.target;
  if (!annotationOf(state.frame, target.id)) {
    say("The current object is not on this frame: there is nothing to delete.");
    return;
  }
  change({ target, send: (at) => (at.base === null ? Promise.resolve(null) : api.removeHere(at)) });
}

/** The mask is right as it is: it counts as made by a person, and its doubt goes. */
export function acceptHere() {
  const target = state.target;
  if (annotationOf(state.frame, target.id)) change({ target, send: api.accept });
  else say("The current object is not on this frame: there is nothing to check.");
}

export async function deleteObject() {
  const object = objectOf(state.target.id);
  const scan = state.scan;
  if (!object || !scan) {
    say("Choose an object first.");
    return;
  }
  const frames = scan.timeline.filter((mark) => mark.object === object.id).length;
  const where = frames > 1 ? `on all its ${frames} frames` : "from this scan";
  const sure = await askYesNo(
    `Delete “${object.name || `${object.label} ${object.id}`}” ${where}?`,
    "Delete",
    "You can undo it.",
  );
  if (sure) change({ wide: true, send: (at) => api.removeObject(at, object.id, state.scan?.seq ?? 0) });
}

/** @param {number} id @param {{label?: string, name?: string, colour?: string|null}} values */
export function changeObject(id, values) {
  change({
    async send(at) {
      const object = objectOf(id);
      // Compared only now: a choice before it may have been under way.
      const news = object && Object.entries(values).some(([key, value]) => object[/** @type {"name"} */ (key)] !== value);
      return news ? api.patchObject(at, id, { ...values, base: object.version }) : null;
    },
  });
}

export function toggleDone() {
  const done = !state.scan?.done;
  change({ send: (at) => api.patchScan(at, done) });
}

export function findObjects() {
  const label = state.label;
  change({
    target: { id: null, label },
    asks: true,
    send: api.findObjects,
    then(answer) {
      const found = answer.annotations.length;
      say(
        found
          ? `${found === 1 ? "One object was" : `${found} objects were`} found: look at each of them.`
          : "No new object was found on this frame.",
      );
    },
  });
}

/** @param {"undo"|"redo"} way */
export function step(way) {
  change({
    wide: true,
    follow: true,
    asks: true,
    async send(at) {
      try {
        return await api.step(at, way, false);
      } catch (error) {
        if (!(error instanceof api.ApiError) || error.code !== "others") throw error;
        const word = way === "undo" ? "Undo" : "Redo";
        const sure = await askYesNo(
          `The last step was made in another tab or by another user. ${word} it anyway?`,
          word,
        );
        return sure ? api.step(at, way, true) : null;
      }
    },
    then(answer) {
      if (objectOf(answer.object) && answer.object !== state.target.id) select(answer.object);
    },
  });
}

/** Make an object the current one; null: the next prompt begins a new one. @param {number|null} id */
export function select(id) {
  const object = objectOf(id);
  if (object) state.target = { id: object.id, label: object.label };
  else state.target = { id: null, label: state.label };
  state.preview = null;
  emit("target", "annotations");
}

/** @param {1|-1} way */
export function selectNext(way) {
  const ids = state.scan?.objects.map(({ id }) => id) ?? [];
  if (!ids.length) return;
  const here = state.target.id === null ? (way > 0 ? -1 : 0) : ids.indexOf(state.target.id);
  select(ids[(here + way + ids.length) % ids.length] ?? null);
}

/** Of the current object, or of the next new one. @param {string} label */
export function chooseClass(label) {
  const { target } = state;
  state.label = label;
  target.label = label;
  if (target.id !== null) changeObject(target.id, { label });
  emit("target", "annotations");
}
