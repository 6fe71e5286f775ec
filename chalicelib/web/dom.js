/**
 * Elements and words. All text goes into the page as text: nothing here reads HTML, so that a name or
 * a label that somebody pushed can be no more than words.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element. Properties that begin with `on` are listeners, the others attributes.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child || child === 0).map((child) =>
    child instanceof Node ? child : String(child)));
  return element;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "unknown";
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < UNITS.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${UNITS[at]}`;
}

const STEPS = /** @type {const} */ ([["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]]);
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/**
 * A time as how long ago it is; the whole of it is in the title.
 * @param {string | null | undefined} at
 * @param {string} otherwise
 */
export function ago(at, otherwise = "unknown") {
  const seconds = at ? (Date.now() - Date.parse(at)) / 1000 : NaN;
  if (Number.isNaN(seconds)) return make("span", { class: "none" }, otherwise);
  const [unit, length] = STEPS.find(([, each]) => seconds >= each) ?? ["minute", 60];
  const count = Math.floor(seconds / length);
  return make("time", { datetime: at, title: at }, count > 0 ? RELATIVE.format(-count, unit) : "just now");
}

/** @param {string} digest */
export function short(digest) {
  const [algorithm, hex] = digest.split(":");
  return `${algorithm}:${(hex ?? "").slice(0, 12)}`;
}

/** @param {unknown} error */
export function wordsOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {string} text */
export function say(text) {
  const status = /** @type {HTMLElement} */ (document.getElementById("status"));
  status.textContent = text;
  window.clearTimeout(Number(status.dataset.timer));
  status.dataset.timer = String(window.setTimeout(() => { status.textContent = ""; }, 6000));
}

/**
 * A button that copies.
 * @param {string} text
 * @param {string} what
 * @param {string} [label]
 */
export function copier(text, what, label) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`Copied: ${text}`);
    } catch {
      say(text);
    }
  };
  return make("button", { type: "button", class: "icon", title: `Copy ${what}: ${text}`, "aria-label": `Copy ${what}`, onclick: copy }, drawing("M9 9h11v11H9zM5 15H4V4h11v1"), label ? ` ${label}` : null);
}

/**
 * A small line drawing.
 * @param {string} path
 */
function drawing(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", width: "15", height: "15", "aria-hidden": "true" })) svg.setAttribute(name, value);
  svg.append(line);
  return svg;
}
