// Small helpers to find and make elements. No HTML text is ever parsed: names of files and classes stay text.

/**
 * The element with this id, which must be of this type.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${type.name} #${id} in the page`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string|boolean|number|null|undefined>} [attributes] true sets an empty one, false and null leave it out
 * @param {...(Node|string|null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * One of the icons drawn in index.html, for the eye only.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A square of a class's colour. The colour is set through the CSSOM, which the content policy allows.
 * @param {string} colour
 */
export function swatch(colour) {
  const square = make("span", { class: "swatch", "aria-hidden": "true" });
  square.style.backgroundColor = colour;
  return square;
}

/**
 * Replace the children and keep the keyboard focus: a rebuilt list must not throw its user back to the top.
 * @param {HTMLElement} parent
 * @param {Node[]} children
 */
export function refill(parent, children) {
  const active = document.activeElement;
  const id = active instanceof HTMLElement && parent.contains(active) ? active.dataset.focus : undefined;
  parent.replaceChildren(...children);
  if (id) {
    const again = [...parent.querySelectorAll("[data-focus]")].find(
      (child) => child instanceof HTMLElement && child.dataset.focus === id,
    );
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  }
}

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
