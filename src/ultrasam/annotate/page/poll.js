// Nothing is lost: is the server there, and did another tab change this scan?

import * as api from "./api.js";
import { say } from "./dialogs.js";
import { byId } from "./dom.js";
import { retry } from "./navigate.js";
import { resume } from "./queue.js";
import { emit, on, state } from "./state.js";
import { matchClasses, refetch } from "./store.js";

const EVERY_MS = 2000;
// A tab that polls counts as there: others are asked before they undo its steps.
const HIDDEN_MS = 5000;

const DOWN =
  "The server does not answer. Everything up to your last finished stroke is on disk. Start “ultrasam annotate” again; this page goes on by itself.";
const SIGNED_OUT =
  "This run of ultrasam has ended or you are not signed in: open the address that it printed.";

let checking = false;
let fetching = false; // the scan again: it waits for steps, which may wait for the server, which is found by polling

/** @param {() => Promise<void>} begin loads the project where that has not worked yet */
export function startPoll(begin) {
  api.onLink((link) => {
    if (link === state.link) return;
    const back = link === "up";
    state.link = link;
    emit("link", "queue");
    if (!back) return;
    resume();
    if (state.project) retry();
    else void begin();
  });
  const again = () => {
    const rests = document.hidden && state.link === "up";
    setTimeout(() => void check().then(again), rests ? HIDDEN_MS : EVERY_MS);
  };
  again();
  document.addEventListener("visibilitychange", () => void check());
  on(["link", "queue"], () => {
    const banner = byId("banner", HTMLElement);
    banner.hidden = state.link === "up";
    const waiting =
      state.waiting === 1
        ? " One change waits to be sent."
        : state.waiting
          ? ` ${state.waiting} changes wait to be sent.`
          : "";
    const words = state.link === "up" ? "" : (state.link === "down" ? DOWN : SIGNED_OUT) + waiting;
    if (byId("banner-words", HTMLElement).textContent !== words)
      byId("banner-words", HTMLElement).textContent = words;
  });
}

/** @param {import("./types.js").OpenScan} scan */
async function takeNews(scan) {
  fetching = true;
  try {
    await refetch();
    if (state.scan?.id === scan.id && state.scan !== scan)
      say("This scan was changed in another tab; it is up to date again.");
  } catch {
    // the banner tells
  } finally {
    fetching = false;
  }
}

async function check() {
  if (checking) return;
  checking = true;
  try {
    const scan = state.scan;
    if (!scan) {
      // Without a scan there is nothing that changes; only a lost server is asked for.
      if (state.link !== "up" || !state.project) await api.project();
      return;
    }
    const { changed, seq, classes } = await api.changes(scan.id, scan.seq);
    const quiet = !fetching && !state.waiting && !state.tracking && !state.opening && state.scan === scan;
    if (!quiet) return;
    await matchClasses(classes);
    if (!changed) {
      scan.seq = seq; // all until then is this tab's own
      return;
    }
    void takeNews(scan);
  } catch {
    // the banner tells
  } finally {
    checking = false;
  }
}
