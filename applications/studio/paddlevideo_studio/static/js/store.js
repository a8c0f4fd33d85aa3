// What the page knows, and who is told when it changes; and the changes of spans and boxes.
import { api } from "./api.js";
import { attempt } from "./dom.js";

export const state = {
  tab: "timeline", online: true,
  project: null, models: [], jobs: new Map(), videos: new Map(), uploads: [],
  video: null, // id of the open one
  spans: [], scores: null, selected: null, canUndo: false, // of the open one
  people: [], persons: [], person: null, canUndoPeople: false,
  other: null, // the second model: { model, spans, scores }
  similar: null, // what resembles a span
  live: { state: "off", spans: [], remarks: [] },
};
const MOST_WINDOWS = 4000; // about three for each column of pixels
const watchers = [];
let changed = null;

/** Calls `render` once after any of these keys was set. */
export function watch(keys, render) {
  watchers.push([new Set(keys.split(" ")), render]);
}

/** Sets values; those who watch them are called once, after the current task. */
export function update(values) {
  Object.assign(state, values);
  if (changed === null) {
    changed = new Set();
    queueMicrotask(() => {
      const keys = changed;
      changed = null;
      for (const [watched, render] of watchers) if ([...keys].some((key) => watched.has(key))) render();
    });
  }
  for (const key of Object.keys(values)) changed.add(key);
}

export const video = () => state.videos.get(state.video);
export const classes = () => state.project?.classes ?? [];
export const colourOf = (name) => classes().find((each) => each.name === name)?.colour ?? "#5c6470";
export const model = () => state.models.find((each) => each.id === state.project?.model);
export const selected = () => state.spans.find((span) => span.id === state.selected);
export const isHuman = (span) => span.by === "human";
/** Spans that no person has checked, the least certain first. */
export const queue = () => state.spans.filter((span) => !isHuman(span)).sort((a, b) => (a.score ?? 0) - (b.score ?? 0));
export const newestJob = (test) => [...state.jobs.values()].filter(test).sort((a, b) => b.id - a.id)[0];
export const isActive = (job) => job?.state === "queued" || job?.state === "running";

let opening = null; // the video that was asked for last
export async function openVideo(id) {
  const blank = { spans: [], scores: null, selected: null, people: [], persons: [], person: null };
  // the frames' times first: an edit that comes before them would be at other frames
  opening = id;
  const isReady = state.videos.get(id)?.state === "ready";
  const times = isReady ? await attempt(() => api("GET", `videos/${id}/times`)) : null;
  if (opening !== id || times === undefined) return;
  const isNew = id !== state.video; // else it is loaded again: the connection is back, or it has been converted
  update({ video: id, times, ...(isNew ? { ...blank, other: null, similar: null, canUndo: false, canUndoPeople: false } : {}) });
  if (isReady) await Promise.all([loadSpans(), loadScores(), loadPeople()]);
}

const take = (id, answer) => {
  if (answer && state.video === id) update({ spans: answer.spans, canUndo: answer.can_undo });
};
const takePeople = (id, answer) => {
  const { people, persons, can_undo: canUndoPeople } = answer ?? {};
  if (answer && state.video === id) update({ people, persons, canUndoPeople });
};

export async function loadSpans(id = state.video) {
  take(id, await attempt(() => api("GET", `videos/${id}/spans`)));
}

export async function loadPeople(id = state.video) {
  takePeople(id, await attempt(() => api("GET", `videos/${id}/people`)));
}

export async function loadScores(id = state.video) {
  const scores = await attempt(() => api("GET", `videos/${id}/scores?most=${MOST_WINDOWS}`));
  if (scores && state.video === id) update({ scores });
}

/** Puts every window of a part in, where the curve of the whole video is reduced. */
export async function refineScores(from_s, to_s, id = state.video) {
  const whole = state.scores?.whole ?? state.scores;
  if (!whole?.reduced) return;
  const query = new URLSearchParams({ model: whole.model, from_s, to_s, most: MOST_WINDOWS });
  const part = await attempt(() => api("GET", `videos/${id}/scores?${query}`));
  if (!part?.scores.length || part.run !== whole.run || (state.scores?.whole ?? state.scores) !== whole) return;
  const start = part.windows_s[0][0], end = part.windows_s.at(-1)[1];
  const before = whole.windows_s.filter((each) => each[1] <= start).length, after = whole.windows_s.findIndex((each) => each[0] >= end);
  const joined = (key) => [...whole[key].slice(0, before), ...part[key], ...(after < 0 ? [] : whole[key].slice(after))];
  update({ scores: { ...whole, windows_s: joined("windows_s"), scores: joined("scores"), whole } });
}

/** One step of undo.  After a refusal the current spans are shown again. */
export async function changeSpans(changes, id = state.video) {
  const answer = await attempt(() => api("PUT", `videos/${id}/spans`, { changes }));
  if (!answer) return void (await loadSpans(id));
  take(id, answer);
  const last = changes.at(-1);
  const made = last.removed ? null : answer.spans.find((span) => isHuman(span) && span.label === last.label &&
    Math.abs(span.start_s - last.start_s) < 0.002 && Math.abs(span.end_s - last.end_s) < 0.002);
  if (state.video === id) update({ selected: made?.id ?? null });
}

export async function changePeople(changes, id = state.video) {
  const answer = await attempt(() => api("PUT", `videos/${id}/people`, { changes }));
  if (answer) takePeople(id, answer);
  else await loadPeople(id);
}

export async function renamePerson(body, id = state.video) {
  takePeople(id, await attempt(() => api("POST", `videos/${id}/persons`, body)));
  await loadSpans(id);
}

export async function undo() {
  const what = state.tab === "people" ? "people" : "spans", id = state.video;
  const answer = await attempt(() => api("POST", `videos/${id}/undo`, { what }));
  (what === "people" ? takePeople : take)(id, answer);
}

/** The spans of the newest analysis of the open video by a model; null: it has not analysed the video. */
export async function compareWith(number) {
  const id = state.video;
  const job = newestJob((each) => each.kind === "analyse" && each.state === "done" && each.video === id && each.model === number);
  if (!job) return update({ other: null });
  const [found, scores] = await Promise.all([
    attempt(() => api("GET", `videos/${id}/spans?run=${job.id}`)),
    attempt(() => api("GET", `videos/${id}/scores?model=${number}`)),
  ]);
  if (found && state.video === id) update({ other: { model: number, spans: found.spans, scores } });
}
