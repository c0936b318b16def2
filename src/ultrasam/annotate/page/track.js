// Tracking through a clip: progress as it comes, a Stop, and what to do where it stopped.

import * as api from "./api.js";
import { say, sayError, sentence } from "./dialogs.js";
import { byId } from "./dom.js";
import { hasImage } from "./images.js";
import { retry, showFrame } from "./navigate.js";
import { whenIdle } from "./queue.js";
import { emit, locked, nameOf, objectOf, on, state } from "./state.js";
import { apply, applyTracked, forgetFrames } from "./store.js";

const PATIENCE_MS = 4000; // for the last line after a Stop

let abort = new AbortController();

/** @param {"forward"|"back"} direction */
export async function track(direction) {
  const scan = state.scan;
  const why = locked();
  if (why || !scan) {
    say(why);
    return;
  }
  if (scan.frames < 2) {
    say("This scan has one frame: there is nothing to track.");
    return;
  }
  await whenIdle();
  if (state.scan?.id !== scan.id || state.tracking) return;
  if (!state.scan.timeline.some(({ frame }) => frame === state.frame)) {
    say("Nothing is annotated on this frame: click an object first, then track it.");
    return;
  }
  state.playing = false;
  state.preview = null;
  state.tracking = { direction, frames: 0, stopping: false };
  abort = new AbortController();
  emit("tracking", "playing");
  const start = state.frame;
  let shown = start;
  let last = start;
  /** @type {import("./types.js").Stopped[]|null} */
  let stopped = null;
  try {
    const run = {
      objects: null,
      frame: start,
      direction,
      last: null,
      ...(scan.axis ? { axis: scan.axis } : {}),
    };
    await api.track(scan.id, run, abort.signal, (line) => {
      if ("error" in line) throw new api.ApiError(line.error, line.code, 200);
      if ("end" in line) {
        stopped = line.stopped;
        forgetFrames(); // the sizes of all tracked masks come with a fresh answer
        apply(scan.id, line.change, true);
        return;
      }
      applyTracked(line.frame, line.annotations);
      last = line.frame;
      if (state.tracking) state.tracking.frames++;
      // Follow it for as long as the user does not look elsewhere.
      if (state.frame === shown && hasImage(line.frame)) showFrame((shown = line.frame));
      emit("tracking");
    });
    if (!stopped) throw new api.ApiError("The connection ended while tracking.", "offline", 0);
  } catch (error) {
    if (error instanceof api.ApiError && !error.unreached) sayError(error.message);
    else if (!state.tracking?.stopping)
      sayError("Tracking was cut off. What it had finished is kept; look at it, then track on.");
  }
  const cancelled = state.tracking?.stopping ?? false;
  state.tracking = null;
  emit("tracking");
  if (!stopped) retry();
  else finish(stopped, cancelled, state.frame === shown ? last : state.frame);
}

/**
 * @param {import("./types.js").Stopped[]} stopped
 * @param {boolean} cancelled
 * @param {number} look the frame to show where nothing needs a look: the bitmap of the last one may have come late
 */
function finish(stopped, cancelled, look) {
  const early = stopped.filter(({ kind }) => kind !== "end" && kind !== "anchor"); // those two are as planned
  const first = early[0] ?? stopped.find(({ kind }) => kind === "anchor");
  if (!first || cancelled) {
    showFrame(look);
    say(
      cancelled ? "Tracking was stopped; what it had finished is kept." : "Tracked to the end of the clip.",
    );
    return;
  }
  showFrame(first.frame);
  const object = objectOf(first.object);
  const who = object ? `“${nameOf(object)}”` : "The object";
  const more = early.length > 1 ? ` ${early.length - 1} more stopped too.` : "";
  const wrong = first.kind === "drift" || first.kind === "lost";
  const what = wrong ? " Correct it with a click, then track again." : "";
  (wrong || first.kind === "unreadable" ? sayError : say)(
    `Tracking of ${who} stopped at frame ${first.frame + 1}. ${sentence(first.reason.replace(/\.$/, ""))}.${what}${more}`,
    `frame ${first.frame}`,
  );
}

export async function stopTracking() {
  const { tracking, scan } = state;
  if (!tracking || !scan || tracking.stopping) return;
  tracking.stopping = true;
  emit("tracking");
  const mine = abort;
  try {
    await api.cancelTrack(scan.id);
  } catch {
    mine.abort(); // closing the connection stops it too
  }
  setTimeout(() => mine.abort(), PATIENCE_MS);
}

export function startTracking() {
  on(["tracking", "scan"], () => {
    const { tracking, scan } = state;
    byId("track-buttons", HTMLElement).hidden = tracking !== null || (scan?.frames ?? 0) < 2;
    byId("track-progress", HTMLElement).hidden = tracking === null;
    byId("track-words", HTMLElement).textContent = tracking
      ? tracking.stopping
        ? "Stopping …"
        : `Tracking ${tracking.direction}: ${tracking.frames} ${tracking.frames === 1 ? "frame" : "frames"}`
      : "";
  });
}
