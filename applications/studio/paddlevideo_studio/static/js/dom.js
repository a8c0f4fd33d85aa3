// Elements, texts in two languages, times, dialogs.
let strings = {};

export const $ = (selector) => document.querySelector(selector);
export const language = () => localStorage.language ?? (navigator.language.startsWith("zh") ? "zh" : "en");

/** Loads the texts of the chosen language and sets those of the page. */
export async function loadStrings() {
  strings = await (await fetch(`/static/strings/${language()}.json`)).json();
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) label(element, t(element.dataset.tLabel));
}

/** A text; `{name}` in it is replaced. */
export const t = (key, values = {}) => (strings[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export function label(element, text) {
  element.setAttribute("aria-label", text);
  if (element.tagName === "BUTTON") element.title = text;
}

/** Puts other children into an element; the focus stays at the same place. */
export function redraw(root, children) {
  const places = () => [...root.querySelectorAll("button, select, input, textarea")];
  const at = places().indexOf(document.activeElement), scrolled = root.scrollTop;
  root.replaceChildren(...children.flat(2).filter(Boolean));
  root.scrollTop = scrolled;
  if (at >= 0) places()[at]?.focus({ preventScroll: true });
}

/** An element; children are elements or texts, never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name.startsWith("aria-")) element.setAttribute(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** 45.2 -> 0:45.20, 3723.4 -> 1:02:03.40; without hundredths for a ruler. */
export function clock(second, digits = 2) {
  const whole = Math.round(second * 10 ** digits) / 10 ** digits;
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

let hiding;
/** One line at the bottom; an error stays longer. */
export function say(text, isError = false) {
  const line = $("#said"), dialog = $("#dialog");
  (dialog.open ? dialog : document.body).append(line); // a modal dialog lies above the page
  line.textContent = text;
  line.classList.toggle("error", isError);
  line.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { line.hidden = true; }, isError ? 12000 : 4000);
}

/** Runs what may fail, and says why it did. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    say(error.message, true);
    return undefined;
  }
}

let turn = Promise.resolve();
/** Runs an action when those before it have ended: each of two quick presses sees what the one before has changed. */
export const inTurn = (action) => { turn = turn.then(() => attempt(action)); };

/** A modal dialog with a title; Escape closes it. */
export function openDialog(title, ...children) {
  const dialog = $("#dialog");
  dialog.onclose = () => document.body.append($("#said"));
  dialog.onclose();
  const close = h("button", { class: "quiet", "aria-label": t("close"), onclick: () => dialog.close() }, "×");
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, title, close), ...children);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export const field = (text, input) => h("label", { class: "field" }, h("span", {}, text), input);
export const options = (pairs, chosen) =>
  pairs.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
export const isDark = (colour) => {
  const [r, g, b] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05) >= 4.5; // white on it can be read
};
