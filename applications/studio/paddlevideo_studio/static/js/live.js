// The Live page: a camera or an address, spans as they close, the last minute kept.
import { api } from "./api.js";
import { $, attempt, clock, field, h, redraw, say, t } from "./dom.js";
import { colourOf, model, state, update, watch } from "./store.js";

const MOST = 100;

export async function load() {
  const live = await attempt(() => api("GET", "live"));
  if (live) update({ live });
}

/** An event: a span that closed, or the whole state. */
export function take(event) {
  if (!event.span) return load();
  update({ live: { ...state.live, spans: [...state.live.spans, event.span].slice(-MOST) } });
}

let typed = ""; // an address with its password is kept in the page alone, while it is open
function render() {
  const { live } = state, running = live.state === "running";
  const source = h("input", { name: "source", required: true, placeholder: "0, rtsp://…, http://…", value: running ? live.source : typed, readonly: running });
  source.oninput = () => { typed = source.value; };
  const begin = (event) => {
    event.preventDefault();
    attempt(async () => update({ live: await api("POST", "live", { source: source.value.trim() }) }));
  };
  const stop = () => attempt(async () => update({ live: await api("DELETE", "live") }));
  const save = () => attempt(async () => say(t("saved", { name: (await api("POST", "live/save")).name })));
  const form = h("form", { class: "row", onsubmit: begin }, field(t("source"), source),
    running ? h("button", { type: "button", onclick: stop }, t("stop")) : h("button", { class: "filled", disabled: !model() }, t("start")),
    running ? h("button", { type: "button", class: "filled", onclick: save }, t("save_minute")) : null);
  const spans = [...live.spans].reverse().map((span) => h("tr", {}, h("td", {}, `${clock(span.start_s)} – ${clock(span.end_s)}`),
    h("td", {}, h("span", { class: "swatch", style: { background: colourOf(span.label) } }), ` ${span.label}`), h("td", {}, span.score?.toFixed(2) ?? "")));
  redraw($("#live"), [h("h2", {}, t("live")), h("p", { class: "hint" }, t(model() ? "live_hint" : "no_model")), form,
    h("p", { role: "status" }, t(`live_${live.state}`, { source: live.source ?? "" })),
    live.error && h("pre", { class: "error" }, live.error),
    h("table", {}, h("thead", {}, h("tr", {}, ["time", "class", "score"].map((key) => h("th", {}, t(key))))), h("tbody", {}, spans)),
    live.remarks.length ? [h("h3", {}, t("remarks")), h("pre", {}, live.remarks.join("\n"))] : null]);
}

export const start = () => watch("live models project language", render);
