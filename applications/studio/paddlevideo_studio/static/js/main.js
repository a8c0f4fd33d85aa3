// Loads the project, listens to the server, and binds the top bar, the rows and the keys.
import { api, download, listen, send } from "./api.js";
import { $, attempt, field, h, inTurn, language, loadStrings, openDialog, options, redraw, say, t } from "./dom.js";
import * as live from "./live.js";
import * as models from "./models.js";
import * as people from "./people.js";
import * as player from "./player.js";
import * as timeline from "./timeline.js";
import { Tracks } from "./tracks.js";
import * as videos from "./videos.js";
import {
  compareWith, isActive, loadPeople, loadScores, loadSpans, model, newestJob, openVideo, refineScores, selected, state, undo, update, video, watch,
} from "./store.js";

const TABS = ["timeline", "people", "live", "models"], FORMS = ["json", "csv", "jsonl", "srt", "vtt", "label_studio", "cvat"], BOXES = ["people_csv", "people_jsonl", "people_ava", "people_cvat"];
const wanted = location.hash.slice(1).split("/"); // page and video of an address that was kept
const onPeople = () => state.tab === "people";
const tracks = new Tracks($("#lanes"), $("#playhead"), {
  seek: player.seek,
  select: (bar, second) => (onPeople() ? people.choose(bar.of, player.snap(second)) : timeline.choose(bar.of)),
  trim: (bar, start_s, end_s) => !onPeople() && timeline.trim(bar.of, start_s, end_s),
  create: (row, second) => !onPeople() && video() && timeline.create(row.name, second, tracks.to - tracks.from),
  shown: refineScores,
  snap: player.snap,
});

async function loadAll() {
  const [project, found, list, jobs] = await Promise.all(["project", "models", "videos", "jobs"].map((path) => api("GET", path)));
  update({
    project, models: found.models, videos: new Map(list.videos.map((each) => [each.id, each])), jobs: new Map(jobs.jobs.map((each) => [each.id, each])),
  });
  await live.load();
  if (state.video && !state.videos.has(state.video)) update({ video: null });
  const id = [state.video, wanted[1], list.videos[0]?.id].find((each) => state.videos.has(each));
  if (id) await openVideo(id);
}

function takeJob(job) {
  const before = state.jobs.get(job.id);
  update({ jobs: state.jobs.set(job.id, job) });
  if (!isActive(before) || isActive(job)) return;
  if (job.kind === "analyse" && job.video === state.video) loadScores();
  if (["train", "teach"].includes(job.kind)) say(models.outcome(job), job.state !== "done");
}

function takeVideo(each) {
  const wasReady = state.videos.get(each.id)?.state === "ready";
  update({ videos: state.videos.set(each.id, each) });
  if (!state.video) openVideo(each.id);
  else if (each.id === state.video && !wasReady && each.state === "ready") openVideo(each.id).then(player.load);
}

const EVENTS = {
  job: takeJob, video: takeVideo, live: live.take, models: models.load,
  video_removed: ({ id }) => {
    state.videos.delete(id);
    update({ videos: state.videos });
    if (state.video === id) openVideo(state.videos.keys().next().value ?? null);
  },
  spans: ({ video: id }) => {
    if (id === state.video) loadSpans();
    EVENTS.project();
  },
  people: ({ video: id }) => {
    if (id === state.video) loadPeople();
    EVENTS.project();
  },
  project: async () => update({ project: await api("GET", "project") }),
};

// ---- the top bar

/** A button that says why it cannot be pressed now; it stays reachable by keyboard. */
function offer(button, reason, isNext) {
  button.setAttribute("aria-disabled", String(Boolean(reason)));
  button.title = reason ?? "";
  button.classList.toggle("filled", Boolean(isNext) && !reason);
}

function topBar() {
  const { project } = state, current = model(), open = video(), corrections = project?.counts[onPeople() ? "people_corrections" : "corrections"] ?? 0;
  for (const button of $("#tabs").children) button.setAttribute("aria-current", button.dataset.tab === state.tab ? "page" : "false");
  const held = current?.held_out, was = current?.previous;
  $("#model-line").replaceChildren(...(current ? [t("model"), " ", h("b", {}, current.name), held && ` · ${t("held_out")} ${held.name} `,
    held && h("b", { class: was && held.value < was.value ? "error" : "good" }, held.value.toFixed(2)), was && ` (${t("was", { value: was.value.toFixed(2) })})`].filter(Boolean) : [t("no_model_short")]));
  const training = newestJob((each) => ["train", "teach"].includes(each.kind) && isActive(each));
  const noVideo = open?.state === "ready" ? null : t("why_no_video");
  $("#train").textContent = corrections > 1 ? t("train_on", { count: corrections }) : t(corrections ? "train_on_one" : "train");
  const whyTrain = training ? t("why_training") : corrections ? null : t("why_no_corrections");
  const whyAnalyse = noVideo ?? (current ? (open.job ? t("why_busy") : null) : t("no_model"));
  const isNew = open && !open.analysed.includes(project?.model);
  offer($("#export"), project?.counts.spans || state.persons.length ? null : t("why_no_spans"), false);
  offer($("#analyse"), whyAnalyse, isNew);
  offer($("#train"), whyTrain, corrections >= 3 && !(isNew && !whyAnalyse));
}

function exportDialog() {
  const form = h("select", {}, options((onPeople() ? [...BOXES, ...FORMS] : [...FORMS, ...BOXES]).map((each) => [each, t(`form_${each}`)]))), open = video();
  const whole = h("select", {}, options([[open?.id ?? "", open?.name ?? t("all_videos")], ...(open ? [["", t("all_videos")]] : [])]));
  const human = h("input", { type: "checkbox" }), file = h("input", { type: "file" });
  // a file of subtitles names no video; others name theirs
  const into = h("select", {}, options([["", t("as_named")], ...(open ? [[open.id, open.name]] : [])], ""));
  file.onchange = () => { if (open) into.value = /\.(srt|vtt)$/i.test(file.files[0]?.name ?? "") ? open.id : ""; };
  const save = (event) => {
    event.preventDefault();
    attempt(async () => {
      const query = new URLSearchParams({ form: form.value, ...(whole.value && { video: whole.value }), ...(human.checked && { by: "human" }) });
      const lost = await download(`export?${query}`);
      say(lost ? t("lost", { what: lost }) : t("exported"), Boolean(lost));
    });
  };
  const read = () => file.files[0] && attempt(async () => {
    const query = new URLSearchParams({ filename: file.files[0].name, ...(into.value && { video: into.value }) });
    const { added, boxes, notes } = await send(`import?${query}`, file.files[0]);
    say([t("imported", { added: added + boxes }), ...notes].join(" · "), notes.length > 0);
    await Promise.all([loadSpans(), loadPeople()]);
  });
  openDialog(t("export"), h("form", { onsubmit: save }, field(t("form"), form), field(t("of"), whole),
    h("label", { class: "row" }, human, t("only_checked")), h("button", { class: "filled" }, t("export")),
    h("h3", {}, t("import")), h("p", { class: "hint" }, t("import_hint")), field(t("file"), file), field(t("into"), into), h("button", { type: "button", onclick: read }, t("import"))));
}

function keysDialog() {
  const keys = ["Space", "J K L", ", .", "← →", "↑ ↓", "1–9", "Enter", "Del", "N", "I O", "M", "U", "+ −", "C"];
  openDialog(t("keys"), h("dl", {}, keys.flatMap((key, i) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(`key_${i}`))])));
}

// ---- the rows, the panel, the notice

function renderRows() {
  const rows = onPeople() ? people.rows() : timeline.rows();
  tracks.chosen = onPeople() ? state.person : state.selected;
  tracks.setRows(video() ? rows : []);
  const span = selected();
  $("#chosen").textContent = span && !onPeople() ? `${span.label} ${span.start_s}–${span.end_s} s, ${t(span.by === "human" ? "by_person" : "by_model", { by: span.by, score: span.score?.toFixed(2) ?? "" })}` : "";
}

function renderPanel() {
  const onCard = document.activeElement?.closest("#side .card");
  redraw($("#side"), onPeople() ? people.panel() : timeline.panel());
  if (onCard) ($("#side .card[aria-current=true]") ?? $("#side .card"))?.focus({ preventScroll: true });
  timeline.atPlayhead(player.now());
}

let dismissed = null; // number of a job whose notice was closed
function renderNotice() {
  const job = state.video && (timeline.failedJob() ?? newestJob((each) => each.video === state.video && isActive(each)));
  const close = h("button", { class: "quiet more", "aria-label": t("close"), onclick: () => { dismissed = job.id; renderNotice(); } }, "×");
  $("#job").hidden = !job || job.id === dismissed;
  if (job) redraw($("#job"), [models.jobCard(job), close]);
}

function renderCompare() {
  const others = state.models.filter((each) => each.id !== state.scores?.model && video()?.analysed.includes(each.id));
  $("#compare").replaceChildren(...options([["", "–"], ...others.map((each) => [String(each.id), `${each.name} · ${each.id}`])], String(state.other?.model ?? "")));
  $("#compare").disabled = !others.length;
  $("#compare").parentElement.title = others.length ? "" : t("why_no_compare");
}

function showTab() {
  const isWork = ["timeline", "people"].includes(state.tab);
  $("#work").hidden = !isWork;
  $("#work").dataset.tab = state.tab;
  $("#live").hidden = state.tab !== "live";
  $("#models").hidden = state.tab !== "models";
  if (!isWork) player.pause();
  history.replaceState(null, "", `#${state.tab}/${state.video ?? ""}`);
}

// ---- keys

const KEYS = {
  " ": player.toggle, k: player.pause, j: () => player.shuttle(-1), l: () => player.shuttle(1), ",": () => player.step(-1), ".": () => player.step(1),
  ArrowLeft: () => player.seek(Math.max(player.now() - 1, 0)), ArrowRight: () => player.seek(player.now() + 1),
  ArrowUp: () => (onPeople() ? people.nextPerson(-1) : stepSpan(-1)), ArrowDown: () => (onPeople() ? people.nextPerson(1) : stepSpan(1)),
  Enter: () => (onPeople() ? people.keepKeyFrame() : timeline.keep()), n: () => !onPeople() && video() && timeline.createHere(),
  i: () => !onPeople() && timeline.setEdge("start_s"), o: () => !onPeople() && timeline.setEdge("end_s"), m: () => !onPeople() && timeline.findSimilar(),
  Delete: () => (onPeople() ? people.removeKeyFrame() : timeline.removeSpan()), u: undo, c: timeline.editClasses,
  "+": () => tracks.zoom(0.5), "=": () => tracks.zoom(0.5), "-": () => tracks.zoom(2), "?": keysDialog,
};
KEYS.Backspace = KEYS.Delete;

/** The span before or after the chosen one, or the playhead, in time. */
function stepSpan(step) {
  const at = state.spans.findIndex((span) => span.id === state.selected);
  const from = at >= 0 ? at + step : state.spans.findIndex((span) => span.start_s >= player.now());
  timeline.choose(state.spans[Math.min(Math.max(from, 0), state.spans.length - 1)]?.id);
}

function key(event) {
  const { target } = event, isButton = target.closest("button, summary, a, input");
  if (event.ctrlKey || event.metaKey || event.altKey || $("#dialog").open || target.closest("input:not([type=checkbox], [type=file]), textarea, select")) return;
  if (isButton && (event.key === " " || (event.key === "Enter" && !target.closest("#side .card")))) return;
  if (!["timeline", "people"].includes(state.tab) || event.defaultPrevented) return;
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : null;
  const action = digit === null ? KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] : () => (onPeople() ? people.toggleAction(digit) : timeline.setClass(digit));
  if (!action) return;
  event.preventDefault();
  if (video()?.state === "ready" || ["?", "c"].includes(event.key)) inTurn(action);
}

let zoomed = null; // video whose part is shown
async function begin() {
  await loadStrings();
  for (const part of [videos, player, people, live, models]) part.start();
  watch("tab project models videos video jobs persons language", topBar);
  watch("tab video", showTab);
  watch("video", () => {
    player.load();
    $(".lanes-box").hidden = !video();
    if (state.video !== zoomed || video()?.duration_s !== tracks.length) tracks.setLength(video()?.duration_s ?? 1);
    zoomed = state.video;
  });
  watch("tab spans scores other project selected people person video times language", renderRows);
  watch("tab spans scores other project selected people person video videos similar language", renderPanel);
  watch("jobs", () => state.similar && renderPanel());
  watch("tab video jobs language", renderNotice);
  watch("models scores videos video other language", renderCompare);
  watch("people person tab project", player.paint);
  watch("online", () => { $("#offline").hidden = state.online; });
  player.onTime((second, isPlaying) => {
    tracks.setSecond(second, isPlaying);
    if (!onPeople()) timeline.atPlayhead(second);
    else if (!isPlaying) renderPanel();
  });
  const pressed = (button, action) => { $(button).onclick = (event) => (event.currentTarget.getAttribute("aria-disabled") === "true" ? say(event.currentTarget.title) : action()); };
  pressed("#export", exportDialog);
  pressed("#train", models.trainDialog);
  pressed("#analyse", () => attempt(() => api("POST", `videos/${state.video}/analyse`, {})));
  pressed("#keys", keysDialog);
  pressed("#language", async () => {
    localStorage.language = language() === "zh" ? "en" : "zh";
    await loadStrings();
    update({ language: language() });
  });
  for (const button of $("#tabs").children) button.onclick = () => update({ tab: button.dataset.tab });
  for (const button of document.querySelectorAll(".sheet")) button.onclick = () => {
    for (const each of ["videos", "side"]) $(`#${each}`).classList.toggle("open", each === button.dataset.sheet && !$(`#${each}`).classList.contains("open"));
  };
  $("#compare").onchange = (event) => (event.target.value ? compareWith(Number(event.target.value)) : update({ other: null }));
  addEventListener("keydown", key);
  addEventListener("click", (event) => { // Enter and Space after a click are of the rows, not of the button once more
    if (event.detail && event.target.closest(".bar button, #controls button")) $("#lanes").focus({ preventScroll: true });
  }, true);
  update({ tab: TABS.includes(wanted[0]) ? wanted[0] : "timeline", language: language() });
  let wasOnline = null;
  listen(EVENTS, (online) => {
    if (online && wasOnline !== true) attempt(loadAll);
    wasOnline = online;
    update({ online });
  });
}

begin();
