// The list of scans at the left: made once for a search, its lines are changed one by one.

/** @import {ScanEntry} from "./types.js" */

import { byId, icon, make } from "./dom.js";
import { openScan } from "./navigate.js";
import { LOW_SCORE, on, state } from "./state.js";

const list = byId("scan-list", HTMLUListElement);
const search = byId("scan-search", HTMLInputElement);

/** @type {Map<number, HTMLButtonElement>} */
const lines = new Map();

const TAIL = 8; // letters at the end of a name that are always shown: they tell images of a series apart

const KIND_ICONS = { image: "image", dicom: "clip", volume: "volume", video: "clip", unknown: "image" };

function build() {
  const scans = state.project?.scans ?? [];
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = scans.filter(({ place }) => words.every((word) => place.toLowerCase().includes(word)));
  lines.clear();
  list.replaceChildren(...found.map(line));
  byId("scan-none", HTMLElement).hidden = found.length > 0;
  byId("scan-none", HTMLElement).textContent = scans.length
    ? "No scan has these words in its name."
    : "No scans.";
  refresh();
}

/** @param {ScanEntry} entry */
function line(entry) {
  const at = entry.place.lastIndexOf("/") + 1;
  const file = entry.place.slice(at);
  const button = make(
    "button",
    { type: "button", class: "scan", "data-testid": "scan", "data-scan": entry.id, title: entry.place },
    icon(KIND_ICONS[/** @type {"image"} */ (entry.kind)] ?? "image"),
    make(
      "span",
      { class: "place" },
      make("span", { class: "folder" }, entry.place.slice(0, at)),
      make("span", { class: "file" }, make("span", {}, file.slice(0, -TAIL)), file.slice(-TAIL)),
    ),
    make("span", { class: "marks" }),
  );
  button.addEventListener("click", () => void openScan(entry.id));
  lines.set(entry.id, button);
  return make("li", {}, button);
}

/** What can change of the lines: which is open, which is finished, doubtful, begun. */
function refresh() {
  const scans = state.project?.scans ?? [];
  for (const entry of scans) {
    const button = lines.get(entry.id);
    if (!button) continue;
    const current = entry.id === state.wanted;
    if (current !== (button.getAttribute("aria-current") === "true")) {
      button.setAttribute("aria-current", String(current));
      if (current) button.scrollIntoView({ block: "nearest" });
    }
    const key = `${entry.done} ${entry.objects} ${entry.least}`;
    if (button.dataset.shown === key) continue;
    button.dataset.shown = key;
    mark(button, entry);
  }
  const done = scans.filter((entry) => entry.done).length;
  byId("scan-count", HTMLElement).textContent = scans.length ? `${done} of ${scans.length} finished` : "";
}

/** @param {HTMLButtonElement} button @param {ScanEntry} entry */
function mark(button, entry) {
  const doubtful = entry.least !== null && entry.least < LOW_SCORE;
  const said = (/** @type {string} */ words) => make("span", { class: "said" }, words);
  const marks = [];
  if (entry.objects)
    marks.push(
      make(
        "span",
        { class: "number" },
        String(entry.objects),
        said(entry.objects === 1 ? " object" : " objects"),
      ),
    );
  if (doubtful)
    marks.push(
      make(
        "span",
        { class: "doubtful", title: "A mask in it is uncertain" },
        icon("warning"),
        said("to check"),
      ),
    );
  if (entry.done)
    marks.push(make("span", { class: "done", title: "Finished" }, icon("tick"), said("finished")));
  button.querySelector(".marks")?.replaceChildren(...marks);
  button.classList.toggle("is-doubtful", doubtful);
  button.dataset.done = String(entry.done);
}

export function startScans() {
  search.addEventListener("input", build);
  list.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const here = document.activeElement?.closest("li");
    const next = step > 0 ? here?.nextElementSibling : step < 0 ? here?.previousElementSibling : null;
    const button = next?.querySelector("button");
    if (button) {
      button.focus();
      event.preventDefault();
    }
  });
  on(["project"], build);
  on(["scan"], refresh);
}
