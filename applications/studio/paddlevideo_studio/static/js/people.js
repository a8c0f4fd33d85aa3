// The People page: a row per person; boxes over the video at key frames, interpolated between them.
import { api } from "./api.js";
import { $, attempt, h, label, say, t } from "./dom.js";
import * as player from "./player.js";
import { changePeople, classes, colourOf, renamePerson, state, update, video } from "./store.js";

const GREY = "#5c6470", NEAR_PX = 9, SMALLEST = 0.01;
let tracks = { of: null, map: new Map() }, drag = null;

/** Key frames of each person, in order of time. */
function keyFrames() {
  if (tracks.of !== state.people) {
    tracks = { of: state.people, map: new Map(state.persons.map((person) => [person, []])) };
    for (const box of state.people) tracks.map.get(box.person)?.push(box);
  }
  return tracks.map;
}

/** The box of a person at a second: interpolated; its actions are those of the key frame before. */
function boxAt(boxes, second) {
  const frame = player.frameAt(second), frameOf = (each) => player.frameAt(each.time_s + 5e-4);
  const after = boxes.findIndex((each) => frameOf(each) > frame), before = after < 0 ? boxes.length - 1 : after - 1;
  const one = boxes[before], two = boxes[after];
  if (one && frameOf(one) === frame) return { ...one, key: one };
  if (!one || !two) return null;
  const share = (second - one.time_s) / (two.time_s - one.time_s);
  return { ...one, key: null, box: one.box.map((value, i) => value + share * (two.box[i] - value)) };
}

const present = (second) => [...keyFrames()].map(([, boxes]) => boxAt(boxes, second)).filter(Boolean);

/** Boxes over the video. */
export function boxesAt(second) {
  const shown = present(second).map((each) => ({
    box: drag?.person === each.person && drag.box ? drag.box : each.box, colour: colourOf(each.actions[0]) ?? GREY, key: each.key,
    text: [each.person, ...each.actions, each.score?.toFixed(2)].filter(Boolean).join(" · "), chosen: state.tab === "people" && each.person === state.person,
  }));
  if (drag?.box && !shown.some((each) => each.chosen)) shown.push({ box: drag.box, colour: "#2d6cec", key: true, text: drag.person, chosen: true });
  return shown;
}

/** A row per person: a grey bar from its first key frame to its last, and one per action. */
export function rows() {
  const frame_s = 1 / state.times.fps;
  return [...keyFrames()].map(([person, boxes]) => {
    const last = boxes.at(-1), bars = [], open = new Map();
    const solid = (box) => box.by === "human";
    bars.push({ start_s: boxes[0].time_s, end_s: Math.max(last.time_s, boxes[0].time_s + frame_s), colour: GREY, solid: boxes.every(solid), of: person, text: t("seen"), fixed: true });
    for (const box of boxes) {
      for (const [name, bar] of open) if (!box.actions.includes(name)) { bar.end_s = box.time_s; open.delete(name); }
      for (const name of box.actions) {
        if (!open.has(name)) {
          open.set(name, { start_s: box.time_s, end_s: box.time_s, colour: colourOf(name), solid: true, of: person, text: name, fixed: true });
          bars.push(open.get(name));
        }
        open.get(name).solid &&= solid(box);
      }
    }
    for (const bar of open.values()) bar.end_s = Math.max(last.time_s, bar.start_s + frame_s);
    return { text: person, colour: GREY, bars, marks: boxes.map((box) => box.time_s), chosen: person === state.person };
  });
}

const newPerson = () => String(1 + Math.max(0, ...state.persons.filter((each) => /^\d{1,9}$/.test(each)).map(Number)));
const frameStart = () => Math.round(player.frameTime(player.frameAt(player.now())) * 1000) / 1000;

/** Sets the box or the actions of a person at the playhead: its key frame there is replaced, or one is made. */
function setKeyFrame(person, values) {
  const here = boxAt(keyFrames().get(person) ?? [], player.now());
  const { time_s, box, actions, hold } = { hold: false, time_s: here?.key?.time_s ?? frameStart(), box: here?.box, actions: here?.actions ?? [], ...values };
  if (!box) return say(t("no_box_here"), true);
  return changePeople([{ ...(here?.key ? { id: here.key.id } : {}), time_s, box, person, actions, hold }]);
}

/** 1-9: the chosen person begins or ends an action at the playhead. */
export function toggleAction(index, person = state.person) {
  const name = classes()[index]?.name;
  if (!person) return say(t("choose_person"));
  const here = boxAt(keyFrames().get(person) ?? [], player.now());
  if (!name || !here) return name && say(t("no_box_here"), true);
  const has = here.actions.includes(name);
  return setKeyFrame(person, { hold: true, actions: has ? here.actions.filter((each) => each !== name) : [...here.actions, name] });
}

export function removeKeyFrame() {
  const here = state.person && boxAt(keyFrames().get(state.person) ?? [], player.now());
  if (!here?.key) return say(t("no_key_frame"));
  return changePeople([{ id: here.key.id, removed: true }]);
}

/** Enter: what a model found of the chosen person at the playhead is kept. */
export const keepKeyFrame = () => (state.person ? setKeyFrame(state.person, {}) : say(t("choose_person")));

/** Up and down choose a person, from the first to the last. */
export function nextPerson(step) {
  const at = state.persons.indexOf(state.person);
  const person = state.persons[Math.min(Math.max(at + step, 0), state.persons.length - 1)];
  if (person) choose(person);
}

export function choose(person, second = null) {
  update({ person });
  const boxes = keyFrames().get(person);
  if (second === null && boxes && !boxAt(boxes, player.now())) player.seek(boxes[0].time_s);
  else if (second !== null) player.seek(second);
}

/** The right panel: who does what in this second. */
export function panel() {
  const here = new Map(present(player.now()).map((each) => [each.person, each])), { person } = state;
  const persons = state.persons.map((name) => {
    const actions = here.get(name)?.actions.join(", ");
    return h("li", {}, h("button", { class: "card person", "aria-current": name === person, onclick: () => choose(name) },
      h("b", {}, t("person", { name })), h("span", {}, here.has(name) ? actions || t("no_action") : t("not_here"))));
  });
  const detect = () => attempt(() => api("POST", `videos/${state.video}/detect`, {}));
  const parts = [h("h2", {}, `${t("persons")} · ${state.persons.length}`)];
  if (!state.persons.length) parts.push(h("p", { class: "hint" }, t("no_persons")));
  parts.push(h("ul", { class: "queue" }, persons));
  if (video()) parts.push(h("p", { class: "row" }, h("button", { onclick: detect, disabled: Boolean(video().job) }, t("find_persons"))));
  if (person) parts.push(actionsOf(here.get(person)), changesOf(person));
  return [...parts, h("p", { class: "hint" }, t("people_hint"))];
}

function actionsOf(here) {
  const boxes = classes().map(({ name, colour }, index) => h("label", { class: "score" },
    index < 9 ? h("kbd", {}, String(index + 1)) : h("span", { class: "swatch", style: { background: colour } }), h("span", { class: "name" }, name),
    h("input", { type: "checkbox", checked: here?.actions.includes(name), disabled: !here, onchange: () => toggleAction(index) })));
  return h("div", {}, h("h2", {}, t("does_now", { name: state.person })), boxes, classes().length ? null : h("p", { class: "hint" }, t("no_classes")));
}

function changesOf(person) {
  const others = state.persons.filter((each) => each !== person);
  const merge = h("select", { onchange: (event) => {
    const to = event.target.value;
    if (to) renamePerson({ person, to }).then(() => update({ person: to }));
  } }, h("option", { value: "" }, t("merge_with")), others.map((each) => h("option", { value: each }, t("person", { name: each }))));
  label(merge, t("merge_with"));
  const split = () => {
    const to = newPerson();
    renamePerson({ person, to, from_s: frameStart() }).then(() => update({ person: to }));
  };
  return h("p", { class: "row" }, others.length ? merge : null, h("button", { onclick: split }, t("split_here")), h("button", { onclick: removeKeyFrame }, t("remove_box")));
}

// ---- boxes on the video

function pointer(event) {
  const area = $("#overlay").getBoundingClientRect(), shown = player.picture();
  const inside = (value) => Math.min(Math.max(value, 0), 1);
  return { x: inside((event.clientX - area.left - shown.x) / shown.width), y: inside((event.clientY - area.top - shown.y) / shown.height), shown };
}

/** The corner or the inside of a box that a pointer is on: "00" to "11", "all", or null. */
function gripOf(box, { x, y, shown }) {
  for (const [i, j] of [[0, 1], [2, 1], [0, 3], [2, 3]]) {
    if (Math.abs(box[i] - x) * shown.width < NEAR_PX && Math.abs(box[j] - y) * shown.height < NEAR_PX) return [i, j];
  }
  return x > box[0] && x < box[2] && y > box[1] && y < box[3] ? "all" : null;
}

function down(event) {
  if (state.tab !== "people" || video()?.state !== "ready" || event.button) return;
  player.pause();
  const at = pointer(event), here = present(player.now());
  const own = here.filter((each) => each.person === state.person), area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  const hit = [...own, ...here.sort((a, b) => area(a) - area(b))].find((each) => gripOf(each.box, at));
  if (hit) {
    if (hit.person !== state.person) update({ person: hit.person });
    drag = { person: hit.person, grip: gripOf(hit.box, at), from: at, start: hit.box, box: null };
  } else {
    const person = state.person && !own.length && keyFrames().get(state.person) ? state.person : newPerson();
    drag = { person, grip: [2, 3], from: at, start: [at.x, at.y, at.x, at.y], box: null };
  }
  $("#overlay").setPointerCapture(event.pointerId);
}

function move(event) {
  if (!drag) return;
  const at = pointer(event), dx = at.x - drag.from.x, dy = at.y - drag.from.y, box = [...drag.start];
  if (Math.abs(dx) * at.shown.width + Math.abs(dy) * at.shown.height < 3) return;
  if (drag.grip === "all") {
    const x = Math.min(Math.max(dx, -box[0]), 1 - box[2]), y = Math.min(Math.max(dy, -box[1]), 1 - box[3]);
    drag.box = [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
  } else {
    box[drag.grip[0]] = at.x;
    box[drag.grip[1]] = at.y;
    drag.box = [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])];
  }
  player.paint();
}

async function up() {
  const done = drag;
  if (done?.box && done.box[2] - done.box[0] > SMALLEST && done.box[3] - done.box[1] > SMALLEST) {
    update({ person: done.person });
    await setKeyFrame(done.person, { box: done.box });
  }
  if (drag === done) drag = null;
  player.paint();
}

export function start() {
  const overlay = $("#overlay");
  overlay.addEventListener("pointerdown", down);
  overlay.addEventListener("pointermove", move);
  overlay.addEventListener("pointerup", up);
  overlay.addEventListener("pointercancel", () => { drag = null; player.paint(); });
  player.setPainter(boxesAt);
}
