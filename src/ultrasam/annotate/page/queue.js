// Changes go to the server one after the other. What the server did not get stays first in line and is sent again
// when it answers; only its judgement (done, or an error) takes a change out.

import { ApiError } from "./api.js";
import { emit, state } from "./state.js";

/**
 * @typedef {object} Job
 * @property {() => Promise<void>} send
 * @property {() => Promise<boolean>} arrived  after a lost connection: did the server apply it all the same?
 * @property {(error: ApiError|Error) => Promise<void>} failed  the next change waits until this is done
 * @property {() => void} [settled]  done or failed: what was shown in advance can go
 * @property {object} [group]  jobs that build on each other; a conflict drops those that follow
 */

/** @type {Job[]} */
const jobs = [];
let running = false;
/** @type {(() => void)[]} */
let idle = [];
/** @type {(() => void)[]} */
let reconnected = [];

/** @param {Job} job */
export function enqueue(job) {
  jobs.push(job);
  count();
  if (!running) void run();
}

/** When everything that waits has been judged. @returns {Promise<void>} */
export function whenIdle() {
  return jobs.length ? new Promise((resolve) => idle.push(resolve)) : Promise.resolve();
}

/** The server answers again. */
export function resume() {
  const waiting = reconnected;
  reconnected = [];
  for (const go of waiting) go();
}

/** Forget the changes of a group that have not been sent. @param {object} group */
export function dropGroup(group) {
  for (const job of jobs.slice(1).filter((job) => job.group === group)) {
    jobs.splice(jobs.indexOf(job), 1);
    job.settled?.();
  }
  count();
}

/** Whether changes of a group wait behind the one that is sent now. @param {object} group */
export const awaited = (group) => jobs.slice(1).some((job) => job.group === group);

async function run() {
  running = true;
  let resent = false;
  for (let job = jobs[0]; job; job = jobs[0]) {
    try {
      if (!(resent && (await job.arrived()))) await job.send();
    } catch (error) {
      if (error instanceof ApiError && error.unreached) {
        await new Promise((resolve) => reconnected.push(() => resolve(undefined)));
        resent = true;
        continue;
      }
      await job.failed(error instanceof Error ? error : new Error(String(error)));
    }
    resent = false;
    jobs.splice(jobs.indexOf(job), 1);
    job.settled?.();
    count();
  }
  running = false;
  const waiting = idle;
  idle = [];
  for (const go of waiting) go();
}

function count() {
  state.waiting = jobs.length;
  emit("queue");
}

// Closing the tab would lose what only the page knows; the browser then asks.
window.addEventListener("beforeunload", (event) => {
  if (jobs.length) event.preventDefault();
});
