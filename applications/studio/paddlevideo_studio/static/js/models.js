// The Models page: models with their held-out figures, jobs with their logs; and the dialog that trains.
import { api } from "./api.js";
import { $, attempt, field, h, openDialog, options, redraw, say, t } from "./dom.js";
import { isActive, state, update, watch } from "./store.js";

const POINT = /loss[:=]?\s*([\d.]+(?:e-?\d+)?)/g, MOST_JOBS = 30, EVERY_MS = 2000;
const logs = new Map();

export const figure = (held) =>
  held ? `${held.name} ${held.value.toFixed(2)}${held.spans ? ` (${t("measured_on", held)})` : ""}` : "–";

export async function load() {
  const found = await attempt(() => api("GET", "models"));
  if (found) update({ models: found.models });
}

const use = (number) => attempt(async () => {
  const { models } = await api("POST", `models/${number}/use`);
  update({ models, project: await api("GET", "project") });
});

export function trainDialog() {
  const people = state.tab === "people";
  const mode = h("select", { name: "mode" }, options(people ? [["full", t("train_full")]] : [["head", t("train_head")], ["full", t("train_full")]]));
  const config = h("input", { name: "config", value: people ? "slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb" : "tsm_own_spans" });
  const changes = h("textarea", { rows: 3, placeholder: "epochs=20" }), more = h("div", { hidden: !people }, field(t("config"), config), field(t("overrides"), changes));
  mode.onchange = () => { more.hidden = mode.value === "head"; };
  const begin = (event) => {
    event.preventDefault();
    const full = { config: config.value.trim(), override: changes.value.split("\n").map((line) => line.trim()).filter(Boolean) };
    attempt(async () => {
      await api("POST", "train", { mode: mode.value, of: people ? "people" : "timeline", ...(mode.value === "full" ? full : {}) });
      dialog.close();
      say(t("training_queued"));
    });
  };
  const dialog = openDialog(t("train"), h("form", { onsubmit: begin }, h("p", {}, t("train_text")), field(t("how"), mode), more,
    h("button", { class: "filled" }, t("begin"))));
}

/** Losses of a log as a curve. */
function curve(text) {
  const values = [...text.matchAll(POINT)].map((found) => Number(found[1]));
  if (values.length < 2) return null;
  const most = Math.max(...values), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 300 60");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", t("loss_curve", { first: values[0], last: values.at(-1) }));
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", values.map((value, i) => `${(300 * i) / (values.length - 1)},${58 - (56 * value) / most}`).join(" "));
  svg.append(line);
  return svg;
}

async function readLogs() {
  for (const job of state.jobs.values()) {
    if (state.tab !== "models" || job.state !== "running" || !["train", "teach"].includes(job.kind)) continue;
    const answer = await fetch(`/api/jobs/${job.id}/log?tail=60000`);
    if (answer.ok) logs.set(job.id, await answer.text());
    render();
  }
}

/** What became of a job, in words. */
export function outcome(job) {
  const { result } = job;
  if (job.state !== "done" || !result) return t(job.state === "lost" ? "lost_job" : job.state);
  if (result.held_out === undefined) return result.spans === undefined ? t("done") : t("found_spans", { spans: result.spans });
  const values = { now: figure(result.held_out), before: figure(result.previous) };
  return result.used ? t("model_used", values) : t("model_kept", { ...values, why: result.why });
}

export function jobCard(job) {
  const cancel = h("button", { onclick: () => attempt(() => api("POST", `jobs/${job.id}/cancel`)) }, t("cancel"));
  const copy = h("button", { onclick: () => navigator.clipboard?.writeText(job.command).then(() => say(t("copied"))) }, t("copy"));
  const of = state.videos.get(job.video)?.name;
  const left = job.left_s == null ? "" : t("left", { seconds: Math.ceil(job.left_s) });
  const isFailed = job.state === "failed" || job.state === "lost";
  return [
    h("p", { class: "row" }, h("b", {}, t(`kind_${job.kind}`), of ? ` · ${of}` : ""), h("span", { class: isFailed ? "error" : "" }, outcome(job)),
      isActive(job) ? h("progress", { max: 1, ...(job.progress == null ? {} : { value: job.progress }), "aria-label": t(`kind_${job.kind}`) }) : null,
      isActive(job) ? [left, cancel] : null),
    isActive(job) && logs.has(job.id) ? curve(logs.get(job.id)) : null,
    isFailed ? h("pre", { class: "error" }, job.error ?? "") : null,
    isFailed ? h("p", { class: "row" }, h("span", {}, t("repeat_it")), h("code", {}, job.command), copy) : null,
  ];
}

function render() {
  if (state.tab !== "models") return;
  const row = (each) => {
    const inUse = each.id === state.project?.model;
    return h("tr", { "aria-current": inUse }, h("td", {}, h("b", {}, each.name), ` · ${each.id}`), h("td", {}, each.classes.join(", ")),
      h("td", {}, figure(each.held_out)), h("td", {}, figure(each.previous)), h("td", {}, new Date(each.created).toLocaleString(document.documentElement.lang)),
      h("td", {}, inUse ? t("in_use") : h("button", { onclick: () => use(each.id) }, t("use"))));
  };
  const heads = ["model", "classes", "held_out", "before", "created"].map((key) => h("th", {}, t(key)));
  const table = () => h("table", {}, h("thead", {}, h("tr", {}, heads, h("td"))), h("tbody", {}, [...state.models].reverse().map(row)));
  const jobs = [...state.jobs.values()].sort((a, b) => b.id - a.id).slice(0, MOST_JOBS);
  redraw($("#models"), [h("h2", {}, t("models")),
    state.models.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("models") }, table()) : h("p", {}, t("no_model")),
    h("p", { class: "hint" }, t("held_out_hint")), h("h2", {}, t("jobs")),
    jobs.length ? h("ul", { class: "jobs" }, jobs.map((job) => h("li", {}, jobCard(job).filter(Boolean)))) : h("p", {}, t("no_jobs"))]);
}

export function start() {
  watch("tab models jobs project videos language", render);
  setInterval(readLogs, EVERY_MS);
}
