// The Timeline page: a row per class; at the right the scores at the playhead and what is to be checked.
import { api } from "./api.js";
import { attempt, clock, field, h, inTurn, label, openDialog, say, t } from "./dom.js";
import * as player from "./player.js";
import {
  changeSpans, classes, colourOf, isHuman, isActive, loadSpans, newestJob, openVideo, queue, selected, state, update, video,
} from "./store.js";

const MOST_CARDS = 60, NEW_S = 2;
let meters = [], centres = [], threshold = {};

const barOf = (span) => ({
  start_s: span.start_s, end_s: span.end_s, colour: colourOf(span.label), solid: isHuman(span), of: span.id ?? null,
  text: `${span.label}${isHuman(span) ? " ✓" : ""}${span.person ? ` · ${span.person}` : ""}`,
});
const middles = (scores) => (scores?.windows_s ?? []).map(([from, to]) => (from + to) / 2);

/** A row per class that the project has; those of a model that are not among them only where there are spans. */
export function rows() {
  const named = new Map(classes().map((each) => [each.name, each.colour]));
  for (const span of [...state.spans, ...(state.other?.spans ?? [])]) if (!named.has(span.label)) named.set(span.label, colourOf(span.label));
  const times = middles(state.scores), otherTimes = middles(state.other?.scores);
  centres = times;
  const curve = (scores, at, name) => {
    const column = scores?.classes.indexOf(name) ?? -1;
    return column >= 0 && at.length ? { times: at, values: scores.scores.map((row) => row[column]) } : null;
  };
  const byClass = group(state.spans);
  return [...named].map(([name, colour]) => ({
    text: name, colour, name,
    bars: (byClass.get(name) ?? []).map(barOf),
    curve: curve(state.scores, times, name),
    others: state.other && state.other.spans.filter((span) => span.label === name).map((span) => ({ ...barOf(span), fixed: true })),
    otherCurve: state.other && curve(state.other.scores, otherTimes, name),
  }));
}

function group(spans) {
  const groups = new Map();
  for (const span of spans) groups.get(span.label)?.push(span) ?? groups.set(span.label, [span]);
  return groups;
}

export function choose(id) {
  const span = state.spans.find((each) => each.id === id);
  update({ selected: span?.id ?? null });
  if (span) player.seek(span.start_s);
}

/** The least certain span that is left becomes the chosen one. */
const next = () => choose(queue()[0]?.id ?? null);

export async function keep() {
  const span = selected() ?? queue()[0];
  if (!span) return say(t("nothing_to_check"));
  if (!isHuman(span)) await changeSpans([{ ...bare(span), id: span.id }]);
  next();
}

export async function setClass(index) {
  const name = classes()[index]?.name, span = selected();
  if (!name) return;
  if (!span) return say(t("choose_span"));
  await changeSpans([{ ...bare(span), id: span.id, label: name }]);
}

export async function removeSpan() {
  const span = selected();
  if (!span) return say(t("choose_span"));
  const following = isHuman(span) ? null : queue().find((each) => each.id !== span.id);
  await changeSpans([{ id: span.id, removed: true }]);
  choose(following?.id ?? null);
}

const bare = ({ start_s, end_s, label: name, person }) => ({ start_s, end_s, label: name, ...(person ? { person } : {}) });

export const trim = (id, start_s, end_s) => {
  const span = state.spans.find((each) => each.id === id);
  return span && changeSpans([{ ...bare(span), id, start_s, end_s }]);
};

/** A span of two seconds, or of a tenth of what is shown, that begins at a second. */
export function create(name, second, shown_s = 10 * NEW_S) {
  const length = video().duration_s, start_s = player.snap(Math.min(second, length - 0.05));
  const end_s = player.snap(Math.min(start_s + Math.min(NEW_S, shown_s / 10), length));
  if (end_s > start_s) return changeSpans([{ start_s, end_s, label: name }]);
}

/** I and O: the chosen span begins or ends at the playhead. */
export function setEdge(edge) {
  const span = selected(), at = player.frameTime(player.frameAt(player.now()) + (edge === "end_s" ? 1 : 0));
  if (!span) return say(t("choose_span"));
  const tried = { ...span, [edge]: Math.round(at * 1000) / 1000 };
  if (tried.end_s <= tried.start_s) return say(t("ends_before"), true);
  return trim(span.id, tried.start_s, tried.end_s);
}

/** N: a new span at the playhead, of the class that scores highest there, or of the chosen span's. */
export function createHere() {
  const name = selected()?.label ?? highest()[0]?.name ?? classes()[0]?.name;
  if (!name) return editClasses();
  return create(name, player.now());
}

function highest() {
  const at = windowAt(player.now());
  if (at == null) return [];
  return state.scores.classes.map((name, k) => ({ name, score: state.scores.scores[at][k] })).sort((a, b) => b.score - a.score);
}

/** The window whose centre is nearest to a second. */
function windowAt(second) {
  if (!centres.length) return null;
  let low = 0, high = centres.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((centres[middle] + centres[middle + 1]) / 2 < second) low = middle + 1;
    else high = middle;
  }
  return low;
}

export async function findSimilar() {
  const span = selected();
  if (!span) return say(t("choose_span"));
  const { start_s, end_s } = span;
  const job = await attempt(() => api("POST", `videos/${state.video}/similar`, { start_s, end_s }));
  if (job) update({ similar: { job: job.id, label: span.label, found: null } });
}

export function editClasses() {
  const draft = classes().map((each) => ({ ...each, was: each.name }));
  const table = h("div", { class: "classes" });
  const row = (each) => {
    const gone = () => { draft.splice(draft.indexOf(each), 1); line.remove(); };
    const line = h("p", {},
      h("input", { type: "color", value: each.colour ?? "#2d6cec", "aria-label": t("colour"), oninput: (e) => { each.colour = e.target.value; } }),
      h("input", { value: each.name, maxlength: 200, "aria-label": t("class_name"), oninput: (e) => { each.name = e.target.value; } }),
      h("button", { type: "button", class: "quiet", "aria-label": t("remove_class"), onclick: gone }, "×"));
    table.append(line);
    return line;
  };
  draft.forEach(row);
  const add = () => {
    const each = { name: "" };
    draft.push(each);
    row(each).querySelectorAll("input")[1].focus();
  };
  const save = (event) => {
    event.preventDefault();
    const wanted = draft.filter((each) => each.name.trim()).map((each) => ({ ...each, name: each.name.trim() }));
    attempt(async () => {
      update({ project: await api("PATCH", "project", { classes: wanted }) });
      await loadSpans();
      dialog.close();
    });
  };
  const dialog = openDialog(t("classes"), h("form", { onsubmit: save }, table,
    h("button", { type: "button", onclick: add }, t("add_class")), h("button", { class: "filled" }, t("save"))));
  if (!draft.length) add();
}

/** The right panel. */
export function panel() {
  const names = classes().length <= 12 ? classes() : null;
  const shown = names ?? highest().slice(0, 9).map(({ name }) => ({ name, colour: colourOf(name) }));
  const edit = h("button", { class: "quiet more", onclick: editClasses }, "✎");
  label(edit, t("edit_classes"));
  meters = shown.map(({ name, colour }) => {
    const number = classes().findIndex((each) => each.name === name) + 1, bar = h("i", { style: { background: colour } });
    const value = h("span", { class: "value" });
    const key = number > 0 && number <= 9 ? h("kbd", {}, String(number)) : h("span", { class: "swatch", style: { background: colour } });
    const line = h("button", { class: "score", onclick: () => inTurn(() => setClass(number - 1)) }, key, h("span", { class: "name" }, name), h("span", { class: "meter" }, bar), value);
    return { name, line, bar, value };
  });
  const left = queue();
  return [
    h("h2", {}, t("at_playhead"), edit),
    meters.length ? meters.map((each) => each.line) : h("p", { class: "hint" }, t("no_classes")),
    nothingFound(),
    chosenPanel(),
    similarPanel(),
    h("h2", {}, `${t("least_certain")} · ${t("left_count", { count: left.length })}`),
    h("ul", { class: "queue" }, left.slice(0, MOST_CARDS).map((span, i) => spanCard(span, i))),
    h("p", { class: "hint" }, t("queue_hint")),
  ];
}

export function atPlayhead(second) {
  const at = windowAt(second);
  for (const { name, bar, value } of meters) {
    const column = state.scores?.classes.indexOf(name) ?? -1;
    const score = at == null || column < 0 ? null : state.scores.scores[at][column];
    bar.style.width = `${100 * (score ?? 0)}%`;
    value.textContent = score == null ? "–" : score.toFixed(2);
  }
}

/** The small picture of the strip that is nearest to a second. */
function thumbnail(each, second) {
  const { strip } = each;
  if (!strip) return h("span", { class: "thumb" });
  const width = Math.min(56, (44 * strip.width) / strip.height), k = Math.min(Math.max(Math.round(second / strip.every_s - 0.5), 0), strip.num - 1), scale = width / strip.width;
  const rowsOf = Math.ceil(strip.num / strip.columns), height = strip.height * scale;
  return h("span", { class: "thumb", style: {
    width: `${width}px`, height: `${height}px`, backgroundImage: `url(/api/videos/${each.id}/strip)`,
    backgroundSize: `${strip.columns * width}px ${rowsOf * height}px`,
    backgroundPosition: `${-(k % strip.columns) * width}px ${-Math.floor(k / strip.columns) * height}px`,
  } });
}

const times = (span) => `${clock(span.start_s, 1)} – ${clock(span.end_s, 1)}`;

function spanCard(span, index) {
  const isChosen = span.id === state.selected;
  return h("li", {}, h("button", { class: "card", "data-id": span.id, "aria-current": isChosen, onclick: () => choose(span.id) },
    thumbnail(video(), (span.start_s + span.end_s) / 2), h("b", {}, `${span.label}?`),
    h("span", {}, `${times(span)} · ${span.score?.toFixed(2) ?? ""}`), index === 0 ? h("kbd", {}, "↵") : null));
}

function chosenPanel() {
  const span = selected();
  if (!span) return null;
  const button = (key, action) => h("button", { onclick: () => inTurn(action) }, t(key));
  return h("div", { class: "chosen" }, h("p", {}, h("b", {}, span.label), ` · ${times(span)}`),
    h("p", {}, isHuman(span) ? t("by_person") : t("by_model", { by: span.by, score: span.score?.toFixed(2) ?? "" })),
    h("p", { class: "row" }, isHuman(span) ? null : button("keep", keep), button("remove", removeSpan), button("more_like", findSimilar)));
}

function similarPanel() {
  const { similar } = state;
  if (!similar) return null;
  const job = state.jobs.get(similar.job), close = h("button", { class: "quiet more", onclick: () => update({ similar: null }) }, "×");
  label(close, t("close"));
  const head = h("h2", {}, t("similar_to", { name: similar.label }), close);
  if (isActive(job) || !job) return [head, h("p", { class: "hint" }, t("searching"))];
  if (job.state !== "done") return [head, h("p", { class: "hint error" }, job.error ?? t("cancelled"))];
  const found = job.result?.found ?? [];
  if (!found.length) return [head, h("p", { class: "hint" }, t("nothing_similar"))];
  return [head, h("ul", { class: "queue" }, found.filter((each) => state.videos.has(each.video)).map((each) => {
    const of = state.videos.get(each.video);
    const open = async () => {
      if (state.video !== each.video) {
        await openVideo(each.video);
        if (state.video === each.video) update({ similar });
      }
      if (state.video === each.video) player.seek(each.start_s);
    };
    const add = async () => {
      if (state.video !== each.video) await open();
      const { start_s, end_s } = each;
      await changeSpans([{ start_s, end_s: Math.min(end_s, of.duration_s), label: similar.label }], each.video);
    };
    const plus = h("button", { class: "more", onclick: add }, "+");
    label(plus, t("mark_as", { name: similar.label }));
    return h("li", {}, h("button", { class: "card", onclick: open }, thumbnail(of, (each.start_s + each.end_s) / 2), h("b", {}, of.name),
      h("span", {}, `${times(each)} · ${each.similarity.toFixed(2)}`)), plus);
  }))];
}

/** After an analysis without a span: a lower threshold. */
function nothingFound() {
  const open = video();
  if (!open || open.job || !open.analysed.length || state.spans.length) return null;
  const peak = Math.max(0, ...(state.scores?.scores ?? []).map((row) => Math.max(...row)));
  const slider = h("input", { type: "range", min: 0.05, max: 0.95, step: 0.05, value: threshold.of === open.id ? threshold.value : Math.max(0.05, Math.min(0.5, peak * 0.8)).toFixed(2) });
  const value = h("output", {}, slider.value);
  slider.oninput = () => {
    value.textContent = slider.value;
    threshold = { of: open.id, value: slider.value };
  };
  const again = () => {
    const on = Number(slider.value);
    attempt(() => api("POST", `videos/${open.id}/analyse`, { settings: { on, off: Math.round(on * 66) / 100 } }));
  };
  return h("div", { class: "chosen" }, h("p", {}, t("nothing_found_peak", { peak: peak.toFixed(2) })),
    field(t("threshold"), h("span", { class: "row" }, slider, value)), h("button", { class: "filled", onclick: again }, t("analyse_again")));
}

/** The newest failed job of the open video, for the notice above the rows. */
export const failedJob = () => {
  const job = newestJob((each) => each.video === state.video && each.kind !== "transcode");
  return job && (job.state === "failed" || job.state === "lost") ? job : null;
};
