// Messages and questions. An error stays until it is closed; a remark goes by itself.

import { byId, icon, make } from "./dom.js";

const REMARK_MS = 6000;
const MOST = 2; // older ones go: they must not cover the image

/** With a capital letter, unless it begins with a name that is not written so. @param {string} text */
export function sentence(text) {
  return /^\p{Ll}+[,:;.!?]?(?=\s|$)/u.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

/** A remark, for a moment. @param {string} text @param {string} [about] as of an error */
export function say(text, about) {
  if (text) toast(sentence(text), false, about);
}

/**
 * An error, until it is closed.
 * @param {string} text
 * @param {string} [about]  "files": stays when another scan is opened; "frame N": goes with the next step there
 */
export function sayError(text, about) {
  toast(sentence(text), true, about);
}

/** Messages about a frame, or all about the scan, say nothing any more. @param {string} [about] */
export function forgetMessages(about) {
  for (const box of byId("toasts", HTMLDivElement).querySelectorAll("[data-about]")) {
    const its = box.getAttribute("data-about");
    if (about === undefined ? its !== "files" : its === about) box.remove();
  }
}

/** @param {string} text @param {boolean} error @param {string} [about] */
function toast(text, error, about = "scan") {
  const toasts = byId("toasts", HTMLDivElement);
  for (const other of [...toasts.children])
    if (other.querySelector(".text")?.textContent === text) other.remove();
  while (toasts.children.length >= MOST) toasts.firstElementChild?.remove();
  const close = make(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": "Close this message",
      "data-testid": "toast-close",
    },
    icon("close"),
  );
  const box = make(
    "div",
    {
      class: error ? "toast error" : "toast",
      role: error ? "alert" : "status",
      "data-about": about,
      "data-testid": error ? "toast-error" : "toast",
    },
    icon(error ? "warning" : "info"),
    make("span", { class: "text" }, text),
    close,
  );
  close.addEventListener("click", () => box.remove());
  toasts.append(box);
  if (!error) setTimeout(() => box.remove(), REMARK_MS);
}

/**
 * Open a dialog and wait until it is closed. The browser keeps the focus inside and gives it back afterwards.
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<string>} the value of the button that closed it, "" for Escape
 */
export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  });
}

/** @param {string} question @param {string} yes the word on the button @param {string} [note] */
export async function askYesNo(question, yes, note = "") {
  byId("confirm-question", HTMLElement).textContent = question;
  byId("confirm-note", HTMLElement).textContent = sentence(note);
  byId("confirm-yes", HTMLButtonElement).textContent = yes;
  const dialog = byId("confirm", HTMLDialogElement);
  if (dialog.open) return false; // one question at a time
  return (await ask(dialog)) === "yes";
}

/** Whether a dialog takes the keys now. */
export const dialogOpen = () => document.querySelector("dialog[open]") !== null;
