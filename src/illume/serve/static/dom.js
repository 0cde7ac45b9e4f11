// Elements, made without ever parsing text as HTML: strings are only ever inserted as text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties: `class`, `data`, `on`, and attributes (false and null leave them out). */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the icons of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon; its label is what a screen reader says and what hovering shows. */
export function iconButton(name, label, act, properties = {}) {
  return el(
    "button",
    { type: "button", class: "quiet", "aria-label": label, title: label, on: { click: act }, ...properties },
    icon(name),
  );
}

/** A button with words. */
export function button(words, act, properties = {}) {
  return el("button", { type: "button", class: "plain", on: { click: act }, ...properties }, words);
}

export const $ = (selector, root = document) => root.querySelector(selector);

/** Something unguessable enough for a name. (crypto.randomUUID is not there without https.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A seed as a person would write it. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

/** What localStorage keeps under a name, or null: storage may be forbidden, full, or have been written by hand. */
export function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // it then lasts as long as the page
  }
}
