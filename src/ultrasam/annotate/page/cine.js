// Playing a clip, the slider and the timeline beneath the image.

/** @import {Mark} from "./types.js" */

import { byId } from "./dom.js";
import { hasImage, imageError } from "./images.js";
import { showFrame } from "./navigate.js";
import { emit, on, state, unsure } from "./state.js";

const SPEED_MS = 50; // a frame, where the file does not say
const THUMB = 16; // CSS pixels: the slider's thumb stays inside, so its marks do too

const strip = byId("timeline", HTMLCanvasElement);
const slider = byId("frame-slider", HTMLInputElement);

let since = 0;

export function togglePlay() {
  const scan = state.scan;
  if (!scan || scan.frames < 2 || state.tracking) return;
  state.playing = !state.playing;
  state.preview = null;
  emit("playing", "view");
  if (!state.playing) {
    showFrame(state.frame);
    return;
  }
  since = performance.now();
  requestAnimationFrame(tick);
}

/** @param {number} now */
function tick(now) {
  const scan = state.scan;
  if (!state.playing || !scan) return;
  const each = scan.frameTime && scan.frameTime > 0 ? scan.frameTime : SPEED_MS;
  const next = (state.frame + 1) % scan.frames;
  // A frame that is not here yet is waited for: a jump would hide it.
  if (now - since >= each && (hasImage(next) || imageError(next))) {
    since = Math.max(since + each, now - each);
    showFrame(next);
  }
  requestAnimationFrame(tick);
}

/** @param {number} by */
export function stepFrame(by) {
  if (state.playing) togglePlay();
  showFrame(state.frame + by);
}

/** @param {number} frame */
export function jumpTo(frame) {
  if (state.playing) togglePlay();
  showFrame(frame);
}

const COLOURS = {
  prompt: "#56B4E9",
  brush: "#56B4E9",
  tracked: "#00B38A",
  imported: "#CC79A7",
  auto: "#CC79A7",
};
const DOUBT = "#E69F00";

/**
 * What a frame shows: the most urgent of its marks.
 * @param {Mark[]} marks
 * @returns {"doubt"|"hand"|"tracked"|"other"}
 */
export function kindOf(marks) {
  if (marks.some(unsure)) return "doubt";
  if (marks.some(({ origin }) => origin === "prompt" || origin === "brush")) return "hand";
  return marks.some(({ origin }) => origin === "tracked") ? "tracked" : "other";
}

let asked = false;

function drawTimeline() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    paint();
  });
}

function paint() {
  const context = strip.getContext("2d");
  const scan = state.scan;
  const [width, height] = [strip.clientWidth, strip.clientHeight];
  if (!context || !scan || !width) return;
  const ratio = window.devicePixelRatio || 1;
  strip.width = Math.round(width * ratio);
  strip.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  const step = scan.frames > 1 ? (width - THUMB) / (scan.frames - 1) : 0;
  const x = (/** @type {number} */ frame) => THUMB / 2 + frame * step;
  const bar = Math.max(2, Math.min(10, step - 1.5));
  /** @type {Map<number, Mark[]>} */
  const frames = new Map();
  for (const mark of scan.timeline) {
    const marks = frames.get(mark.frame);
    if (marks) marks.push(mark);
    else frames.set(mark.frame, [mark]);
  }
  for (const [frame, marks] of frames) {
    // Height and shape say the same as the colour: by hand tall, tracked half, doubt with a triangle on top.
    const kind = kindOf(marks);
    const tall = kind === "hand" ? 16 : 9;
    context.fillStyle = kind === "doubt" ? DOUBT : COLOURS[marks[0]?.origin ?? "auto"];
    if (kind === "hand") context.fillStyle = COLOURS.prompt;
    context.fillRect(x(frame) - bar / 2, height - 2 - tall, bar, tall);
    if (kind === "doubt") {
      context.beginPath();
      context.moveTo(x(frame) - 5, height - 12);
      context.lineTo(x(frame), height - 20);
      context.lineTo(x(frame) + 5, height - 12);
      context.fill();
    }
  }
  context.fillStyle = "#ffffff";
  context.fillRect(x(state.frame) - 0.75, 0, 1.5, height);
}

function describe() {
  const scan = state.scan;
  const cine = byId("cine", HTMLElement);
  cine.hidden = !scan || (scan.frames < 2 && scan.axes.length === 0);
  if (!scan) return;
  slider.max = String(scan.frames - 1);
  slider.value = String(state.frame);
  const marks = scan.timeline.filter(({ frame }) => frame === state.frame);
  const doubts = marks.filter(unsure).length;
  const words = marks.length ? `, ${marks.length === 1 ? "one object" : `${marks.length} objects`}` : "";
  slider.setAttribute(
    "aria-valuetext",
    `frame ${state.frame + 1} of ${scan.frames}${words}${doubts ? `, ${doubts} to check` : ""}`,
  );
  byId("frame-number", HTMLElement).textContent = `${state.frame + 1} / ${scan.frames}`;
  byId("frame-time", HTMLElement).textContent = scan.frameTime
    ? `${((state.frame * scan.frameTime) / 1000).toFixed(2)} s`
    : "";
  const checks = scan.timeline.filter(unsure).length;
  byId("timeline-checks", HTMLElement).hidden = !checks;
  byId("timeline-checks", HTMLElement).title =
    checks === 1 ? "One mask of this clip to check (U shows it)" : `${checks} masks of this clip to check (U shows the next)`;
  byId("timeline-words", HTMLElement).textContent = String(checks);
  const play = byId("play", HTMLButtonElement);
  play.setAttribute("aria-pressed", String(state.playing));
  play.setAttribute("aria-label", state.playing ? "Pause" : "Play");
  play.querySelector("use")?.setAttribute("href", state.playing ? "#i-pause" : "#i-play");
}

export function startCine() {
  slider.addEventListener("input", () => jumpTo(Number(slider.value)));
  strip.addEventListener("pointerdown", (event) => {
    strip.setPointerCapture(event.pointerId);
    scrub(event);
  });
  strip.addEventListener("pointermove", (event) => {
    if (strip.hasPointerCapture(event.pointerId)) scrub(event);
  });
  on(["scan", "frame", "annotations", "playing"], () => {
    describe();
    drawTimeline();
  });
  new ResizeObserver(drawTimeline).observe(strip);
}

/** @param {PointerEvent} event */
function scrub(event) {
  const box = strip.getBoundingClientRect();
  const share = (event.clientX - box.left - THUMB / 2) / (box.width - THUMB);
  jumpTo(Math.round(share * ((state.scan?.frames ?? 1) - 1)));
}
