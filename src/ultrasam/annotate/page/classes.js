// The dialog that makes, renames, colours, orders and removes classes.

import * as api from "./api.js";
import { ask, sentence } from "./dialogs.js";
import { byId, icon, make } from "./dom.js";
import { whenIdle } from "./queue.js";
import { state } from "./state.js";
import { refetch, refetchProject } from "./store.js";

// Okabe and Ito: told apart with every kind of colour vision. The last is their black, made light for dark images.
export const PALETTE = [
  "#56B4E9",
  "#E69F00",
  "#009E73",
  "#F0E442",
  "#CC79A7",
  "#D55E00",
  "#0072B2",
  "#DDDDDD",
];

/** @param {{name: string, colour: string}} one @param {string} was "" for a new class */
function line({ name, colour }, was) {
  const text = make("input", {
    type: "text",
    maxlength: 80,
    required: true,
    "aria-label": "Name of the class",
    "data-testid": "class-name",
    placeholder: "Name",
  });
  text.value = name;
  const paint = make("input", { type: "color", "aria-label": "Colour of the class" });
  paint.value = colour.toLowerCase();
  const row = make("li", { "data-was": was }, paint, text);
  for (const [words, sign, act] of /** @type {[string, string, () => void][]} */ ([
    ["Move up", "up", () => row.previousElementSibling?.before(row)],
    ["Move down", "down", () => row.nextElementSibling?.after(row)],
    ["Remove", "bin", () => row.remove()],
  ])) {
    const button = make(
      "button",
      { type: "button", class: "icon-button", "aria-label": words, title: words },
      icon(sign),
    );
    button.addEventListener("click", () => {
      act();
      if (row.isConnected) button.focus();
    });
    row.append(button);
  }
  return row;
}

function entries() {
  return [...byId("class-rows", HTMLUListElement).children].flatMap((row) => {
    const [paint, text] = row.querySelectorAll("input");
    if (!(row instanceof HTMLElement) || !paint || !text) return [];
    const was = row.dataset.was ?? "";
    const name = text.value.trim();
    return [{ name, colour: paint.value, ...(was && was !== name ? { was } : {}) }];
  });
}

function add() {
  const rows = byId("class-rows", HTMLUListElement);
  const row = line({ name: "", colour: PALETTE[rows.children.length % PALETTE.length] ?? "#56B4E9" }, "");
  rows.append(row);
  row.querySelector("input[type=text]")?.scrollIntoView({ block: "nearest" });
  const text = row.querySelectorAll("input")[1];
  text?.focus();
}

function list() {
  const rows = byId("class-rows", HTMLUListElement);
  rows.replaceChildren(...(state.project?.classes ?? []).map((one) => line(one, one.name)));
  if (!rows.children.length) add();
  return state.project?.classesVersion ?? 0;
}

export async function editClasses() {
  let base = list();
  const problem = byId("classes-problem", HTMLElement);
  problem.textContent = "";
  while ((await ask(byId("classes-dialog", HTMLDialogElement))) === "save") {
    try {
      await save(base);
      return;
    } catch (error) {
      problem.textContent = sentence(error instanceof Error ? error.message : "");
      if (!(error instanceof api.ApiError)) continue;
      // Open again as it was, with what is wrong; after a change elsewhere, with the list that there is now.
      if (error.unreached) problem.textContent = "Not saved: the server does not answer.";
      else if (error.code === "conflict" && (await refetchProject().then(() => true, () => false))) {
        base = list();
        problem.textContent =
          "The classes were changed in another tab. This is the list as it is now: make your change again.";
      }
    }
  }
}

/** @param {number} base */
async function save(base) {
  await whenIdle();
  const wanted = entries();
  await api.putClasses(wanted, base);
  // A renamed class stays the chosen one.
  const now = (/** @type {string|null} */ label) => wanted.find(({ was }) => was === label)?.name ?? label;
  state.label = now(state.label);
  state.target.label = now(state.target.label);
  await refetchProject();
  await refetch();
}

export function startClasses() {
  byId("class-add", HTMLButtonElement).addEventListener("click", add);
}
