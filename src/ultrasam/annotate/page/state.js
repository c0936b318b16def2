// All that the page knows, in one object, and who wants to hear when a part of it changes.

/**
 * @import {Annotation, Mark, OpenScan, PendingClick, Preview, Project, ScanObject, Stroke, Target} from "./types.js"
 */

/** @typedef {"project"|"scan"|"frame"|"annotations"|"target"|"tool"|"view"|"queue"|"link"|"playing"|"tracking"|"size"|"settings"} Topic */

export const LOW_SCORE = 0.6; // as in the server, whose /api/next then shows these masks

export const state = {
  /** @type {Project|null} */ project: null,
  /** @type {OpenScan|null} */ scan: null,
  /** @type {number|null} */ wanted: null, // the scan chosen in the list, open or not
  /** @type {string} */ scanError: "",
  opening: false,
  frame: 0,
  /** Annotations of the frames that were asked for. @type {Map<number, Map<number, Annotation>>} */
  frames: new Map(),
  /** @type {Target} */ target: { id: null, label: null },
  /** @type {string|null} */ label: null, // class of the next new object
  tool: "click",
  adding: true, // the toggle Add / Remove, for those without a right button or Alt
  /** @type {Set<number>} */ hidden: new Set(),
  masks: true, // masks shown at all
  /** @type {Stroke[]} */ strokes: [],
  /** @type {PendingClick[]} */ clicks: [],
  /** @type {Preview|null} */ preview: null,
  waiting: 0, // changes not yet confirmed
  /** @type {string} */ saved: "",
  /** @type {number|null} */ serverTime: null,
  /** @type {"up"|"down"|"signed-out"} */ link: "up",
  playing: false,
  /** @type {null|{direction: "forward"|"back", frames: number, stopping: boolean}} */ tracking: null,
  keyboardPointer: false,
  window: 255,
  level: 127.5,
};

/** What a person set and wants to find again. */
export const settings = { preview: true, brush: 12 };

/** @type {Map<Topic, (() => void)[]>} */
const listeners = new Map();

/** @param {Topic[]} topics @param {() => void} listener */
export function on(topics, listener) {
  for (const topic of topics) listeners.set(topic, [...(listeners.get(topic) ?? []), listener]);
}

/** Each listener is called once, also if it listens to several of the topics. @param {...Topic} topics */
export function emit(...topics) {
  for (const listener of new Set(topics.flatMap((topic) => listeners.get(topic) ?? []))) listener();
}

export function readSettings() {
  try {
    const kept = JSON.parse(localStorage.getItem("ultrasam-annotate") ?? "{}");
    if (typeof kept.preview === "boolean") settings.preview = kept.preview;
    if (typeof kept.brush === "number" && kept.brush >= 1) settings.brush = Math.min(kept.brush, 400);
  } catch {
    // a browser that keeps nothing still annotates
  }
}

export function keepSettings() {
  try {
    localStorage.setItem("ultrasam-annotate", JSON.stringify(settings));
  } catch {
    // as above
  }
  emit("settings");
}

/** @param {number|null} id @returns {ScanObject|null} */
export function objectOf(id) {
  return state.scan?.objects.find((object) => object.id === id) ?? null;
}

/** @param {string|null} label */
export function classOf(label) {
  return state.project?.classes.find((one) => one.name === label) ?? null;
}

/** A class may be gone since it was chosen, after an import or a change in another tab. @param {string|null} label */
export function classThere(label) {
  return classOf(label) ? label : (state.project?.classes[0]?.name ?? null);
}

/**
 * Whether a person should look at a mask; what one called right is sure.
 * @param {Pick<Mark, "checked"|"doubt"|"score">} mark
 */
export function unsure({ checked, doubt, score }) {
  return !checked && (doubt !== "" || (score !== null && score < LOW_SCORE));
}

const NO_CLASS = "#56B4E9";

/** @param {ScanObject} object */
export function colourOf(object) {
  return object.colour ?? classOf(object.label)?.colour ?? NO_CLASS;
}

/** @param {Target} target */
export function targetColour(target) {
  const object = objectOf(target.id);
  return object ? colourOf(object) : (classOf(target.label)?.colour ?? NO_CLASS);
}

/** @param {ScanObject} object */
export function nameOf(object) {
  return object.name || `${object.label || "object"} ${object.id}`;
}

/**
 * The annotation of an object on a frame, if there is one and the frame is known.
 * @param {number} frame
 * @param {number|null} id
 */
export function annotationOf(frame, id) {
  return id === null ? null : (state.frames.get(frame)?.get(id) ?? null);
}

/** Where nothing can be changed now, one sentence says why; "" where it can. */
export function locked() {
  if (!state.scan) return "Choose a scan first.";
  if (state.tracking) return "Tracking is running: stop it first.";
  return "";
}
