// The panel at the right: objects of the scan, the current one, its sizes, the classes.

/** @import {Annotation, ScanObject} from "./types.js" */

import { sentence } from "./dialogs.js";
import { byId, icon, make, refill, swatch } from "./dom.js";
import { changeObject, chooseClass, select } from "./edits.js";
import { rows } from "./measure.js";
import { annotationOf, classOf, colourOf, emit, LOW_SCORE, nameOf, objectOf, on, state, unsure } from "./state.js";

const ORIGINS = {
  prompt: "clicked",
  brush: "by hand",
  tracked: "tracked",
  imported: "imported",
  auto: "found",
};

const ORIGIN_TITLES = {
  prompt: "Made with clicks, a box or a calliper",
  brush: "Drawn or corrected by hand",
  tracked: "Followed from another frame",
  imported: "From an imported file",
  auto: "Found by the model without a click",
};

const SCORE = "Score: the model's own guess of how well the mask fits, 0 to 1";

/** How sure a mask is, in words and with an icon. @param {Annotation|null} annotation */
function scoreOf(annotation) {
  if (!annotation)
    return make(
      "span",
      { class: "score", title: "Not on this frame" },
      make("span", { "aria-hidden": "true" }, "—"),
      make("span", { class: "said" }, "not on this frame"),
    );
  const { score, origin, checked } = annotation;
  const number = score === null ? ORIGINS[origin] : score.toFixed(2);
  if (unsure(annotation)) {
    const low = score !== null && score < LOW_SCORE;
    const word = make("span", { class: "long" }, low ? "low " : "check ");
    const words = make("span", {}, word, number);
    return make("span", { class: "score low", title: sentence(whyOf(annotation)) }, icon("warning"), words);
  }
  if (checked)
    return make(
      "span",
      { class: "score checked", title: "You said that this mask is right" },
      icon("tick"),
      make("span", { class: "said" }, "checked"),
      number,
    );
  const title = score === null ? ORIGIN_TITLES[origin] : SCORE;
  return make("span", { class: "score", title }, number);
}

/** Why a person should look at a mask, "" where nobody has to. @param {Annotation|null} annotation */
function whyOf(annotation) {
  if (!annotation || !unsure(annotation)) return "";
  return annotation.doubt || `its score of ${annotation.score?.toFixed(2)} is low`;
}

/** @param {ScanObject} object */
function line(object) {
  const current = object.id === state.target.id;
  const hidden = state.hidden.has(object.id);
  const annotation = annotationOf(state.frame, object.id);
  const choose = make(
    "button",
    {
      type: "button",
      class: "choose",
      "aria-pressed": String(current),
      "data-focus": `object-${object.id}`,
      "data-testid": "object-select",
    },
    swatch(colourOf(object)),
    make(
      "span",
      { class: "words", title: object.name ? `${object.name}, ${object.label}` : nameOf(object) },
      object.name
        ? make("span", { class: "name" }, object.name)
        : make(
            "span",
            { class: "name numbered" },
            make("span", { class: "label" }, object.label || "object"),
            make("span", { class: "number" }, ` ${object.id}`),
          ),
      make("span", { class: "class" }, object.name ? object.label : ""),
    ),
    scoreOf(annotation),
  );
  choose.addEventListener("click", () => select(object.id));
  const eye = make(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-pressed": String(hidden),
      "aria-label": `${hidden ? "Show" : "Hide"} ${nameOf(object)}`,
      title: hidden ? "Show" : "Hide",
      "data-focus": `eye-${object.id}`,
      "data-testid": "object-eye",
    },
    icon(hidden ? "eye-off" : "eye"),
  );
  eye.addEventListener("click", () => {
    if (!state.hidden.delete(object.id)) state.hidden.add(object.id);
    emit("annotations");
  });
  return make(
    "li",
    { class: current ? "object current" : "object", "data-testid": "object", "data-object": object.id },
    choose,
    eye,
  );
}

function drawObjects() {
  const list = byId("object-list", HTMLUListElement);
  const objects = state.scan?.objects ?? [];
  refill(list, objects.map(line));
  if (state.scan && !objectOf(state.target.id)) {
    const words = state.target.label ? `New “${state.target.label}”` : "New object";
    const colour = classOf(state.target.label)?.colour ?? "#56B4E9";
    list.append(
      make(
        "li",
        { class: "object new current", "data-testid": "object-new" },
        make(
          "span",
          { class: "choose" },
          swatch(colour),
          make(
            "span",
            { class: "words", title: words },
            make("span", { class: "name" }, words),
            make("span", { class: "class" }, "click on the image to begin it"),
          ),
        ),
      ),
    );
  }
  list.querySelector(".current")?.scrollIntoView({ block: "nearest" });
}

function drawCurrent() {
  const object = objectOf(state.target.id);
  const panel = byId("current", HTMLElement);
  panel.hidden = !object;
  if (!object) return;
  const name = byId("object-name", HTMLInputElement);
  if (document.activeElement !== name) name.value = object.name;
  name.placeholder = nameOf({ ...object, name: "" });
  byId("object-colour", HTMLInputElement).value = colourOf(object).toLowerCase();
  const annotation = annotationOf(state.frame, object.id);
  const doubt = byId("doubt", HTMLElement);
  const why = whyOf(annotation);
  doubt.hidden = !why;
  byId("doubt-words", HTMLElement).textContent = why ? `Look at this mask: ${why}.` : "";
  byId("delete-here", HTMLButtonElement).disabled = !annotation;
  drawSizes(annotation);
}

/** @param {Annotation|null} annotation */
function drawSizes(annotation) {
  const sizes = annotation?.measurements ?? null;
  const table = byId("sizes", HTMLElement);
  table.replaceChildren(
    ...(sizes ? rows(sizes) : []).map(([id, name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", { "data-testid": `size-${id}` }, value)),
    ),
  );
  const note = byId("sizes-note", HTMLElement);
  if (!annotation) note.textContent = "Not on this frame: a click begins it here.";
  else if (!sizes) note.textContent = "";
  else if (sizes.unit === "px") note.textContent = "In pixels: this scan has no scale in mm here.";
  else note.textContent = sizes.components > 1 ? `${sizes.components} pieces, measured together.` : "";
}

function drawClasses() {
  const classes = state.project?.classes ?? [];
  const current = objectOf(state.target.id)?.label ?? state.target.label;
  refill(
    byId("class-list", HTMLElement),
    classes.map(({ name, colour, key }) => {
      const button = make(
        "button",
        {
          type: "button",
          class: "class-chip",
          "aria-pressed": String(name === current),
          "data-focus": `class-${name}`,
          "data-testid": "class",
          "data-class": name,
          title: key ? `${name} (${key})` : name,
        },
        swatch(colour),
        make("span", { class: "name" }, name),
        key ? make("kbd", {}, key) : null,
      );
      button.addEventListener("click", () => chooseClass(name));
      return button;
    }),
  );
}

function drawAll() {
  drawObjects();
  drawCurrent();
  drawClasses();
  const done = byId("done", HTMLButtonElement);
  done.setAttribute("aria-pressed", String(state.scan?.done ?? false));
  byId("done-words", HTMLElement).textContent = state.scan?.done ? "Finished" : "Mark as finished";
  byId("right", HTMLElement).toggleAttribute("inert", !state.scan);
}

/** @type {number|undefined} */
let asked;

export function startObjects() {
  byId("object-colour", HTMLInputElement).addEventListener("change", (event) => {
    const colour = /** @type {HTMLInputElement} */ (event.target).value;
    if (state.target.id !== null) changeObject(state.target.id, { colour });
  });
  const name = byId("object-name", HTMLInputElement);
  name.addEventListener("change", () => {
    const object = objectOf(state.target.id);
    const words = name.value.trim();
    if (object && words !== object.name) changeObject(object.id, { name: words });
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") {
      if (event.key === "Escape") name.value = objectOf(state.target.id)?.name ?? "";
      byId("canvas", HTMLCanvasElement).focus();
    }
  });
  // The image is drawn first: a click is seen before the list says so.
  on(["project", "scan", "frame", "annotations", "target"], () => {
    asked ??= requestAnimationFrame(() => {
      asked = undefined;
      drawAll();
    });
  });
}
