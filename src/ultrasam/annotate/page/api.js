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

function clientId() {
  const fresh = () =>
    [...crypto.getRandomValues(new Uint8Array(12))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
  try {
    const kept = sessionStorage.getItem("ultrasam-client") ?? fresh();
    sessionStorage.setItem("ultrasam-client", kept);
    return kept;
  } catch {
    return fresh();
  }
}

export const CLIENT = clientId();

/**
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} a good answer
 */
async function request(url, init = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(url, {
      ...init,
      headers: { ...init.headers, "X-Ultrasam-Client": CLIENT },
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
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function json(method, url, body, signal) {
  /** @type {RequestInit} */
  const init = { method };
  if (signal) init.signal = signal;
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
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
 * @typedef {{scan: number, frame: number, axis: string|null, object: number|null, base: number|null, label: string|null}} Place
 * where a change goes, and the version it builds on
 */

/** @param {Place} at */
const body = ({ object, base, label, axis }) => ({ object, base, label, ...(axis ? { axis } : {}) });

/**
 * @param {Place} at
 * @param {Prompt} prompt
 * @param {boolean} preview
 * @param {AbortSignal} [signal]
 * @returns {Promise<Change>}
 */
export const ask = (at, prompt, preview, signal) =>
  json("POST", `/api/scans/${at.scan}/frames/${at.frame}/prompt`, { ...body(at), prompt, preview }, signal);

/** @param {Place} at @param {Mask} mask @returns {Promise<Change>} */
export const putMask = (at, mask) =>
  json("PUT", `/api/scans/${at.scan}/frames/${at.frame}/mask`, { ...body(at), mask });

/** @param {Place} at @returns {Promise<Change>} */
export const removeHere = (at) =>
  json("DELETE", `/api/scans/${at.scan}/frames/${at.frame}/objects/${at.object}${query({ base: at.base })}`);

/** @param {number} scan @param {number} object @returns {Promise<Change>} */
export const removeObject = (scan, object) => json("DELETE", `/api/scans/${scan}/objects/${object}`);

/**
 * @param {number} scan
 * @param {number} object
 * @param {{label?: string, name?: string, colour?: string|null, base: number}} values
 * @returns {Promise<Change>}
 */
export const patchObject = (scan, object, values) =>
  json("PATCH", `/api/scans/${scan}/objects/${object}`, values);

/** @param {number} scan @param {boolean} done @returns {Promise<Change>} */
export const patchScan = (scan, done) => json("PATCH", `/api/scans/${scan}`, { done });

/** A person says that a mask is right as it is. @param {Place} at @returns {Promise<Change>} */
export const accept = (at) => json("POST", `/api/scans/${at.scan}/frames/${at.frame}/accept`, body(at));

/** @param {Place} at @returns {Promise<Change>} */
export const findObjects = ({ scan, frame, axis, label }) =>
  json("POST", `/api/scans/${scan}/frames/${frame}/auto`, { label, ...(axis ? { axis } : {}) });

/** @param {number} scan @param {"undo"|"redo"} way @param {boolean} force @returns {Promise<Change>} */
export const step = (scan, way, force) => json("POST", `/api/scans/${scan}/${way}`, { force });

/**
 * @param {number} scan
 * @param {number} since
 * @returns {Promise<{seq: number, changed: boolean, client: string|null}>}
 */
export const changes = (scan, since) => json("GET", `/api/scans/${scan}/changes${query({ since })}`);

/**
 * @param {number|null} after
 * @param {"least"|"todo"} order
 * @returns {Promise<{scan: number|null, frame: number, why: string}>}
 */
export const nextUncertain = (after, order) => json("GET", `/api/next${query({ after, order })}`);

/**
 * @param {{name: string, colour: string, was?: string}[]} classes
 * @returns {Promise<Classes>}
 */
export const putClasses = (classes) => json("PUT", "/api/classes", { classes });

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
