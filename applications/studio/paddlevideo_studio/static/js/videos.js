// The list of videos, uploads, and what the middle shows while there is nothing to play.
import { api, send } from "./api.js";
import { $, attempt, h, label, say, t } from "./dom.js";
import { isActive, newestJob, openVideo, state, update, video, watch } from "./store.js";

const cards = new Map();

/** A video's state in words. */
function inWords(each) {
  const job = state.jobs.get(each.job);
  if (each.state === "failed") return t("failed_video");
  if (isActive(job)) {
    const left = job.left_s != null ? ` · ${t("left", { seconds: Math.ceil(job.left_s) })}` : "";
    if (job.state === "queued") return t("queued");
    return `${t(`doing_${job.kind}`)} ${job.progress == null ? "" : `${Math.round(job.progress * 100)} %`}${left}`;
  }
  if (each.state === "preparing") return t("queued");
  if (each.spans && each.checked < each.spans) return t("checked_of", { checked: each.checked, spans: each.spans });
  if (each.spans) return t("all_checked", { spans: each.spans });
  return each.analysed.length ? t("nothing_found") : t("not_analysed");
}

function choose(id) {
  $("#videos").classList.remove("open"); // the sheet of a small window
  openVideo(id);
}

function card(each) {
  let made = cards.get(each.id);
  if (!made) {
    const open = h("button", { class: "video", onclick: () => choose(each.id) },
      h("img", { src: `/api/videos/${each.id}/thumbnail`, alt: "", loading: "lazy", width: 64, height: 48 }),
      h("span", { class: "name" }), h("span", { class: "words" }), h("span", { class: "meter" }, h("i")));
    const more = h("button", { class: "quiet more", onclick: () => remove(each.id) }, "×");
    made = h("li", { "data-id": each.id }, open, more);
    cards.set(each.id, made);
  }
  const job = state.jobs.get(each.job), busy = isActive(job);
  const share = busy ? (job.progress ?? 0) : each.spans ? each.checked / each.spans : 0;
  const [open, more] = made.children;
  open.querySelector(".name").textContent = each.name;
  open.querySelector(".words").textContent = inWords(each);
  open.querySelector(".meter").classList.toggle("busy", busy);
  open.querySelector("i").style.width = `${100 * share}%`;
  open.title = each.error ?? each.name;
  open.setAttribute("aria-current", each.id === state.video);
  label(more, t(busy ? "cancel_job" : "remove_video", { name: each.name }));
  return made;
}

function list() {
  const shown = [...state.videos.values()].map(card), parent = $("#video-list");
  for (const id of cards.keys()) if (!state.videos.has(id)) cards.delete(id);
  if (shown.length !== parent.children.length || shown.some((each, i) => parent.children[i] !== each)) parent.replaceChildren(...shown);
  const waiting = state.uploads.filter((each) => !each.error).length;
  $("#videos-title").textContent = [t("videos"), shown.length, ...(waiting ? [t("waiting", { count: waiting })] : [])].join(" · ");
  const left = toAnalyse();
  $("#analyse-all").hidden = left.length < 2 || !state.models.length;
  $("#analyse-all").textContent = t("analyse_all", { count: left.length });
}

const toAnalyse = () =>
  [...state.videos.values()].filter((v) => v.state === "ready" && !v.job && !v.analysed.includes(state.project?.model));

async function remove(id) {
  const job = state.jobs.get(state.videos.get(id)?.job);
  if (isActive(job)) return void attempt(() => api("POST", `jobs/${job.id}/cancel`));
  const { name, checked } = state.videos.get(id);
  if (confirm(t("remove_sure", { name, checked }))) await attempt(() => api("DELETE", `videos/${id}`));
}

/** Sends files one after the other; one that is refused stays in the list with the reason. */
export async function upload(files) {
  const added = [...files].map((file) => ({ file, share: 0, error: null }));
  update({ uploads: [...state.uploads, ...added] });
  for (const each of added) {
    try {
      const show = (share) => { each.share = share; update({ uploads: [...state.uploads] }); };
      const made = await send(`videos?name=${encodeURIComponent(each.file.name)}`, each.file, show, (r) => { each.request = r; });
      state.videos.set(made.id, made);
      update({ videos: state.videos, uploads: state.uploads.filter((other) => other !== each) });
      if (!state.video) openVideo(made.id);
    } catch (error) {
      each.isLost = error.isLost;
      each.error = error.message.replace(`${each.file.name}: `, "");
      update({ uploads: state.uploads.filter((other) => other !== each || each.error) });
    }
  }
}

function uploads() {
  const drop = (each) => {
    each.request?.abort();
    update({ uploads: state.uploads.filter((other) => other !== each) });
  };
  $("#uploads").replaceChildren(...state.uploads.map((each) => {
    const close = h("button", { class: "quiet more", onclick: () => drop(each) }, "×");
    label(close, t("close"));
    const words = each.error ?? (each.share < 1 ? t("sending", { percent: Math.round(each.share * 100) }) : t("reading"));
    const bar = h("progress", { value: each.share, max: 1, "aria-label": each.file.name });
    return h("li", { class: each.error ? "refused" : "" }, h("b", {}, each.file.name), h("span", {}, words), each.error ? null : bar, close);
  }));
}

/** What the middle says instead of a video. */
function middle() {
  const open = video(), message = $("#empty"), parts = [];
  if (!state.videos.size) {
    parts.push(h("h2", {}, t("empty_title")), h("p", {}, t(state.models.length ? "empty_first" : "empty_model")));
    parts.push(h("button", { class: "filled", onclick: () => $("#file").click() }, t("choose_videos")));
    if (state.project?.example) {
      const take = () => attempt(() => api("POST", "example"));
      parts.push(h("button", { onclick: take }, t("open_example")));
    } else parts.push(h("p", { class: "hint" }, t("example_hint"), " ", h("code", {}, "make studio")));
  } else if (!open) parts.push(h("p", {}, t("choose_one")));
  else if (open.state === "preparing") parts.push(h("p", {}, t("preparing", { name: open.name })));
  else if (open.state === "failed") {
    const job = newestJob((each) => each.video === open.id && each.kind === "transcode");
    const again = () => attempt(() => api("POST", `videos/${open.id}/retry`));
    parts.push(h("h2", {}, t("failed_video")), h("p", {}, open.error ?? ""), job?.error ? h("pre", {}, job.error) : null,
      h("p", {}, h("button", { class: "filled", onclick: again }, t("try_again"))));
  }
  message.replaceChildren(...parts.filter(Boolean));
  message.hidden = !parts.length;
}

export function start() {
  watch("videos jobs video project models language", list);
  watch("uploads language", uploads);
  watch("uploads", list);
  watch("online", () => {
    const lost = state.online ? state.uploads.filter((each) => each.isLost) : [];
    if (!lost.length) return;
    update({ uploads: state.uploads.filter((each) => !each.isLost) });
    upload(lost.map((each) => each.file));
  });
  watch("videos video project models jobs language", middle);
  $("#file").onchange = (event) => {
    upload(event.target.files);
    event.target.value = "";
  };
  const zone = $("#drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.toggle("over", name === "dragover");
      if (name === "drop") upload(event.dataTransfer.files);
    });
  }
  $("#video-list").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], all = [...$("#video-list").querySelectorAll(".video")];
    const next = step && all[all.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
    openVideo(next.parentElement.dataset.id);
  });
  $("#analyse-all").onclick = () => attempt(async () => {
    const videos = toAnalyse();
    for (const each of videos) await api("POST", `videos/${each.id}/analyse`, {});
    say(t("queued_all", { count: videos.length }));
  });
}
