// Import of COCO files, export of masks.

import * as api from "./api.js";
import { ask, say, sayError } from "./dialogs.js";
import { byId, make } from "./dom.js";
import { whenIdle } from "./queue.js";
import { emit, state } from "./state.js";
import { refetch, refetchProject } from "./store.js";

export let filesBusy = 0;

/** @param {() => Promise<void>} work */
async function busily(work) {
  filesBusy++;
  emit("queue");
  try {
    await whenIdle(); // what waits is part of the file
    await work();
  } catch (error) {
    sayError(
      error instanceof api.ApiError && error.unreached
        ? "The server does not answer: try again when it does."
        : error instanceof Error
          ? error.message
          : String(error),
      "files",
    );
  } finally {
    filesBusy--;
    emit("queue");
  }
}

/** @param {File[]} files */
async function importFiles(files) {
  for (const file of files) {
    await busily(async () => {
      const { objects, images, skipped } = await api.importFile(file);
      const what = `${objects === 1 ? "One object" : `${objects} objects`} in ${images === 1 ? "one image" : `${images} images`} imported from ${file.name}.`;
      if (skipped.length)
        sayError(
          `${what} Left out: ${skipped.slice(0, 3).join("; ")}${skipped.length > 3 ? ` and ${skipped.length - 3} more` : ""}.`,
          "files",
        );
      else say(what, "files");
      await refetchProject(); // its classes came with the file
      await refetch();
    });
  }
}

function formats() {
  return (state.project?.formats ?? []).map((format, place) => {
    const input = make("input", {
      type: "radio",
      name: "format",
      value: format.id,
      disabled: !format.available,
      "data-testid": `format-${format.id}`,
    });
    input.checked = place === 0;
    return make(
      "label",
      { class: format.available ? "format" : "format off" },
      input,
      make(
        "span",
        {},
        make("strong", {}, format.name),
        make("span", { class: "note" }, format.available ? format.note : (format.why ?? "not available")),
      ),
    );
  });
}

/** @param {string} name */
function chosen(name) {
  const input = document.querySelector(`#export-dialog input[name="${name}"]:checked`);
  return input instanceof HTMLInputElement ? input.value : "";
}

/** Options of the chosen format only. */
function showOptions() {
  const format = chosen("format");
  byId("option-coco", HTMLElement).hidden = format !== "coco";
  byId("option-dicom", HTMLElement).hidden = format !== "dicom-seg";
}

export async function exportMasks() {
  byId("export-formats", HTMLElement).replaceChildren(...formats());
  const one = byId("scope-scan", HTMLInputElement);
  one.disabled = !state.scan;
  if (!state.scan) byId("scope-all", HTMLInputElement).checked = true;
  showOptions();
  if ((await ask(byId("export-dialog", HTMLDialogElement))) !== "export") return;
  const format = chosen("format");
  const scan = chosen("scope") === "scan" && state.scan ? state.scan.id : "all";
  const values = {
    format,
    scan,
    ...(format === "coco" ? { segmentation: chosen("segmentation") } : {}),
    ...(format === "dicom-seg"
      ? { pseudonymise: byId("pseudonymise", HTMLInputElement).checked ? 1 : 0 }
      : {}),
  };
  await busily(async () => {
    const { name, content } = await api.exportFile(values);
    const link = make("a", { download: name, href: URL.createObjectURL(content) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`${name} is in your downloads.`, "files");
  });
}

export function chooseImport() {
  byId("import-file", HTMLInputElement).click();
}

export function startFiles() {
  const input = byId("import-file", HTMLInputElement);
  input.addEventListener("change", () => {
    void importFiles([...(input.files ?? [])]);
    input.value = ""; // the same file again is an import again
  });
  byId("export-dialog", HTMLElement).addEventListener("change", showOptions);
  const drop = byId("drop", HTMLElement);
  const files = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  window.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    drop.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    drop.hidden = true;
    if (!files(event)) return;
    event.preventDefault(); // or the browser leaves the page to show the file
    const dropped = [...(event.dataTransfer?.files ?? [])];
    const good = dropped.filter(({ name }) => name.toLowerCase().endsWith(".json"));
    if (good.length < dropped.length)
      sayError("Only COCO files (.json) can be imported here; put scans into the folder that is open.", "files");
    void importFiles(good);
  });
}
