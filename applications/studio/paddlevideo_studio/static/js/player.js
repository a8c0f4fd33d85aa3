// The video, its controls, its clock in frames, and boxes over it.
import { $, clock, h, isDark, label, t } from "./dom.js";
import { lowerBound } from "./tracks.js";
import { state, video } from "./store.js";

const element = $("#video"), overlay = $("#overlay");
const listeners = [];
let backwards = 0, painter = () => [];

/** Calls `listener(second, isPlaying)` whenever another frame is shown. */
export const onTime = (listener) => listeners.push(listener);
export const now = () => element.currentTime;
export const setPainter = (boxesAt) => { painter = boxesAt; };

/** The frame that is shown at a second. */
export function frameAt(second) {
  const times = state.times?.times_s;
  if (times) return Math.max(lowerBound(times, second + 1e-4) - 1, 0);
  return Math.min(Math.floor(second * (state.times?.fps ?? video()?.fps ?? 25) + 1e-3), Math.max((video()?.num_frames ?? 1) - 1, 0));
}

/** The second at which a frame begins; one behind the last: the end. */
export function frameTime(frame) {
  const times = state.times?.times_s, end = video()?.duration_s ?? 0;
  if (times) return frame < times.length ? times[Math.max(frame, 0)] : end;
  return Math.min(Math.max(frame, 0) / (state.times?.fps ?? video()?.fps ?? 25), end);
}

/** The nearest beginning of a frame, to the millisecond. */
export function snap(second) {
  const frame = frameAt(second), before = frameTime(frame), after = frameTime(frame + 1);
  return Math.round((second - before <= after - second ? before : after) * 1000) / 1000;
}

export function seek(second) {
  // a little inside the frame: seconds are rounded, and a frame before is another picture
  const frame = frameAt(second + 5e-4), start = frameTime(frame);
  element.currentTime = start + Math.min(0.004, (frameTime(frame + 1) - start) / 4);
}

export function step(frames) {
  pause();
  seek(frameTime(frameAt(element.currentTime) + frames));
}

export function toggle() {
  if (element.paused && !backwards) element.play().catch(() => {});
  else pause();
}

export function pause() {
  clearInterval(backwards);
  backwards = 0;
  element.pause();
}

/** J and L: backwards and forwards, faster with every press. */
export function shuttle(direction) {
  const rate = element.playbackRate;
  if (direction > 0) {
    if (!element.paused) setSpeed(Math.min(rate * 2, 4));
    pause();
    element.play().catch(() => {});
    return;
  }
  if (backwards) return setSpeed(Math.min(rate * 2, 4));
  pause();
  backwards = setInterval(() => {
    if (element.currentTime <= 0) pause();
    else if (!element.seeking) element.currentTime = Math.max(element.currentTime - 0.1 * element.playbackRate, 0);
  }, 100);
}

export function setSpeed(rate) {
  element.playbackRate = rate;
  $("#speed").value = String(rate);
}

export function load() {
  pause();
  const open = video();
  if (open?.state === "ready") {
    const address = `/api/videos/${open.id}/media`;
    if (!element.src.endsWith(address)) element.src = address;
    element.setAttribute("aria-label", open.name);
  } else {
    element.removeAttribute("src");
    element.load();
  }
  shown();
}

/** The rectangle of the picture inside the element, in its pixels: the video is never cropped. */
export function picture() {
  const width = overlay.clientWidth, height = overlay.clientHeight, open = video();
  const shape = open?.width ? open.width / open.height : 16 / 9;
  const w = Math.min(width, height * shape), hgt = w / shape;
  return { x: (width - w) / 2, y: (height - hgt) / 2, width: w, height: hgt };
}

export function paint() {
  const ratio = devicePixelRatio || 1, width = overlay.clientWidth, height = overlay.clientHeight;
  Object.assign(overlay, { width: width * ratio, height: height * ratio });
  const pen = overlay.getContext("2d"), frame = picture();
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (const { box, colour, text, chosen, key } of painter(now())) {
    const x = frame.x + box[0] * frame.width, y = frame.y + box[1] * frame.height;
    const w = (box[2] - box[0]) * frame.width, hgt = (box[3] - box[1]) * frame.height;
    pen.lineWidth = chosen ? 3 : 2;
    pen.strokeStyle = colour;
    pen.setLineDash(key ? [] : [6, 3]); // dashed: between key frames
    pen.strokeRect(x, y, w, hgt);
    const long = pen.measureText(text).width + 10, top = Math.max(y - 18, frame.y), left = Math.min(x - 1, frame.x + frame.width - long);
    pen.fillStyle = colour;
    pen.fillRect(left, top, long, 18);
    pen.fillStyle = isDark(colour) ? "#ffffff" : "#111827";
    pen.fillText(text, left + 5, top + 9.5);
    if (!chosen) continue;
    pen.fillStyle = "#ffffff";
    pen.setLineDash([]);
    for (const [cx, cy] of [[x, y], [x + w, y], [x, y + hgt], [x + w, y + hgt]]) {
      pen.fillRect(cx - 4, cy - 4, 8, 8);
      pen.strokeRect(cx - 4, cy - 4, 8, 8);
    }
  }
}

function shown() {
  const open = video(), second = element.currentTime;
  const isOpen = open?.state === "ready";
  $("#clock").textContent = isOpen ? `${clock(second)} / ${clock(open.duration_s)}` : "";
  $("#frame").textContent = isOpen ? t("frame", { number: frameAt(second) }) : "";
  for (const listener of listeners) listener(second, !element.paused);
  paint();
}

function follow() {
  shown();
  if (!element.paused) requestAnimationFrame(follow);
}

export function start() {
  $("#back").onclick = () => step(-1);
  $("#on").onclick = () => step(1);
  $("#play").onclick = toggle;
  $("#screen").onclick = (event) => { if (event.target === element) toggle(); };
  $("#speed").onchange = (event) => setSpeed(Number(event.target.value));
  element.addEventListener("play", () => {
    label($("#play"), t("pause"));
    $("#play").textContent = "❚❚";
    follow();
  });
  element.addEventListener("pause", () => {
    label($("#play"), t("play"));
    $("#play").textContent = "▶";
    shown();
  });
  for (const name of ["seeked", "timeupdate", "loadeddata"]) element.addEventListener(name, shown);
  element.addEventListener("error", () => {
    if (element.src) $("#empty").replaceChildren(h("p", {}, t("unplayable")));
  });
  new ResizeObserver(paint).observe(overlay);
}
