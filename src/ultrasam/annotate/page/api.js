// The HTTP interface. Every failure is an ApiError with a sentence for the user and a code for the page.

/** @import {Change, Classes, FrameAnswer, Mask, OpenScan, Project, Prompt, TrackLine} from "./types.js" */

export class ApiError extends Error {
  /** @param {string} message @param {string} code @param {number} status 0: no answer */
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }

  /** True where the request can be sent again later as it is: nobody has judged it. */
  get unreached() {
    return this.code === "offline" || this.code === "unauthorised";
  }
}

/** @type {((link: "up"|"down"|"signed-out") => void)} */
let tell = () => {};

/**
 * @param {(link: "up"|"down"|"signed-out") => void} listener is told after each request whether the server answered
 */
export function onLink(listener) {
  tell = listener;
}

/** A random name: of this tab, or of one step. */
export const freshId = () =>
  [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function clientId() {
  // A duplicated tab gets a copy of the session's storage: only a reload is the same tab as before.
  const [visit] = performance.getEntriesByType("navigation");
  const again = visit instanceof PerformanceNavigationTiming && visit.type === "reload";
  try {
    const kept = (again ? sessionStorage.getItem("ultrasam-client") : null) ?? freshId();
    sessionStorage.setItem("ultrasam-client", kept);
    return kept;
  } catch {
    return freshId();
  }
}

const CLIENT = clientId();
const JOB = "X-Ultrasam-Job"; // one name per step, by which the server knows it when it comes twice

/**
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} a good answer
 */
async function request(url, init = {}) {
  /** @type {Response} */
  let response;
  const changes = init.method !== undefined && init.method !== "GET";
  try {
    response = await fetch(url, {
      ...init,
      headers: { "X-Ultrasam-Client": CLIENT, ...(changes ? { [JOB]: freshId() } : {}), ...init.headers },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    tell("down");
    throw new ApiError("The server does not answer.", "offline", 0);
  }
  if (response.status === 401) {
    tell("signed-out");
    throw new ApiError("You are not signed in.", "unauthorised", 401);
  }
  tell("up");
  if (!response.ok) throw await failure(response);
  return response;
}

/** @param {Response} response */
async function failure(response) {
  try {
    const { error, code } = await response.json();
    if (typeof error === "string") return new ApiError(error, String(code ?? ""), response.status);
  } catch {
    // no JSON: the sentence below has to do
  }
  return new ApiError(`The server could not do this (status ${response.status}).`, "", response.status);
}

/**
 * @param {string} method
 * @param {string} url
 * @param {unknown} [body] sent as JSON
 * @param {string} [job] of a step that is sent again: its name from the first time
 * @returns {Promise<any>}
 */
async function json(method, url, body, job) {
  /** @type {RequestInit} */
  const init = { method };
  if (job) init.headers = { [JOB]: job };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, "Content-Type": "application/json" };
  }
  const response = await request(url, init);
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof DOMException) throw error;
    tell("down"); // the connection ended within the answer
    throw new ApiError("The answer of the server was cut off.", "offline", 0);
  }
}

/** @param {Record<string, string|number|null|undefined>} values */
function query(values) {
  const kept = Object.entries(values).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return kept.length ? `?${new URLSearchParams(kept.map(([name, value]) => [name, String(value)]))}` : "";
}

/** @returns {Promise<Project>} */
export const project = () => json("GET", "/api/project");

/** @param {number} scan @param {string|null} [axis] @returns {Promise<OpenScan>} */
export const openScan = (scan, axis) => json("GET", `/api/scans/${scan}${query({ axis })}`);

/** @param {number} scan @param {number} frame @param {string|null} axis @returns {Promise<FrameAnswer>} */
export const frameOf = (scan, frame, axis) =>
  json("GET", `/api/scans/${scan}/frames/${frame}${query({ axis })}`);

/**
 * @param {number} scan
 * @param {number} frame
 * @param {string|null} axis
 * @param {AbortSignal} signal
 * @param {boolean} ahead fetched for later: not yet what the user looks at
 * @returns {Promise<Blob>}
 */
export async function picture(scan, frame, axis, signal, ahead) {
  const url = `/api/scans/${scan}/frames/${frame}.png${query({ axis, ahead: ahead ? 1 : null })}`;
  return (await request(url, { signal })).blob();
}

/**
 * @typedef {{scan: number, frame: number, axis: string|null, object: number|null, base: number|null, label: string|null,
 *   job: string}} Place
 * where a change goes, the version it builds on, and the name of the step
 */

/** @param {Place} at */
const body = ({ object, base, label, axis }) => ({ object, base, label, ...(axis ? { axis } : {}) });

/**
 * @param {Place} at
 * @param {Prompt} prompt
 * @param {boolean} preview
 * @returns {Promise<Change>}
 */
export const ask = (at, prompt, preview) =>
  json("POST", `/api/scans/${at.scan}/frames/${at.frame}/prompt`, { ...body(at), prompt, preview }, at.job);

/** @param {Place} at @param {Mask} mask @returns {Promise<Change>} */
export const putMask = (at, mask) =>
  json("PUT", `/api/scans/${at.scan}/frames/${at.frame}/mask`, { ...body(at), mask }, at.job);

/** @param {Place} at @returns {Promise<Change>} */
export const removeHere = ({ scan, frame, object, base, job }) =>
  json("DELETE", `/api/scans/${scan}/frames/${frame}/objects/${object}${query({ base })}`, undefined, job);

/**
 * The object on all frames; refused where another tab changed the scan after `seq`.
 * @param {Place} at
 * @param {number} object
 * @param {number} seq
 * @returns {Promise<Change>}
 */
export const removeObject = ({ scan, job }, object, seq) =>
  json("DELETE", `/api/scans/${scan}/objects/${object}${query({ seq })}`, undefined, job);

/**
 * @param {Place} at
 * @param {number} object
 * @param {{label?: string, name?: string, colour?: string|null, base: number}} values
 * @returns {Promise<Change>}
 */
export const patchObject = ({ scan, job }, object, values) =>
  json("PATCH", `/api/scans/${scan}/objects/${object}`, values, job);

/** @param {Place} at @param {boolean} done @returns {Promise<Change>} */
export const patchScan = ({ scan, job }, done) => json("PATCH", `/api/scans/${scan}`, { done }, job);

/** A person says that a mask is right as it is. @param {Place} at @returns {Promise<Change>} */
export const accept = (at) =>
  json("POST", `/api/scans/${at.scan}/frames/${at.frame}/accept`, body(at), at.job);

/** @param {Place} at @returns {Promise<Change>} */
export const findObjects = ({ scan, frame, axis, label, job }) =>
  json("POST", `/api/scans/${scan}/frames/${frame}/auto`, { label, ...(axis ? { axis } : {}) }, job);

/** @param {Place} at @param {"undo"|"redo"} way @param {boolean} force @returns {Promise<Change>} */
export const step = ({ scan, job }, way, force) => json("POST", `/api/scans/${scan}/${way}`, { force }, job);

/**
 * What other tabs changed after `since`, the version of the classes, and whether the step `job` was applied.
 * @param {number} scan
 * @param {number} since
 * @param {string} [job]
 * @returns {Promise<{seq: number, changed: boolean, client: string|null, classes: number, arrived?: boolean}>}
 */
export const changes = (scan, since, job) =>
  json("GET", `/api/scans/${scan}/changes${query({ since, job })}`);

/**
 * The least certain frame of all but the one that is looked at.
 * @param {number|null} after
 * @param {number|null} frame
 * @returns {Promise<{scan: number|null, frame: number, why: string}>}
 */
export const nextUncertain = (after, frame) =>
  json("GET", `/api/next${query({ after, frame, order: "least" })}`);

/**
 * @param {{name: string, colour: string, was?: string}[]} classes
 * @param {number} base the version of the classes that these were made from
 * @returns {Promise<Classes>}
 */
export const putClasses = (classes, base) => json("PUT", "/api/classes", { classes, base });

/** @param {File} file @returns {Promise<{objects: number, images: number, skipped: string[]}>} */
export async function importFile(file) {
  const init = { method: "POST", body: file, headers: { "Content-Type": "application/json" } };
  return (await request(`/api/import${query({ name: file.name })}`, init)).json();
}

/** @param {Record<string, string|number>} values @returns {Promise<{name: string, content: Blob}>} */
export async function exportFile(values) {
  const response = await request(`/api/export${query(values)}`);
  const header = response.headers.get("Content-Disposition") ?? "";
  const coded = /filename\*=UTF-8''([^;]+)/i.exec(header)?.[1];
  const plain = /filename="?([^";]+)"?/i.exec(header)?.[1];
  return {
    name: coded ? decodeURIComponent(coded) : (plain ?? "ultrasam-export"),
    content: await response.blob(),
  };
}

/**
 * Track objects through the frames; `line` gets each line as it comes.
 * @param {number} scan
 * @param {{objects: number[]|null, frame: number, direction: "forward"|"back", last: number|null, axis?: string}} run
 * @param {AbortSignal} signal
 * @param {(line: TrackLine) => void} line
 */
export async function track(scan, run, signal, line) {
  const response = await request(`/api/scans/${scan}/track`, {
    method: "POST",
    body: JSON.stringify(run),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  if (!response.body) throw new ApiError("The answer of the server was empty.", "offline", 0);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    /** @type {ReadableStreamReadResult<string>} */
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      tell("down");
      throw new ApiError("The connection ended while tracking.", "offline", 0);
    }
    if (part.done) break;
    const lines = (rest + part.value).split("\n");
    rest = lines.pop() ?? "";
    for (const text of lines) if (text.trim()) line(JSON.parse(text));
  }
  if (rest.trim()) line(JSON.parse(rest));
}

/** @param {number} scan */
export const cancelTrack = (scan) => json("POST", "/api/tracks/cancel", { scan });
