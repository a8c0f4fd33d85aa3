// Rows of bars over time on a canvas: a ruler, a row per class or person, curves of scores, a playhead.
import { clock, isDark } from "./dom.js";

const RULER = 26, LANE = 24, CURVE = 24, THIN = 8, GAP = 6, EDGE = 6, CLOSEST_S = 0.5, SETTLES_MS = 200;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

/**
 * `on`: seek(second), select(bar), trim(bar, start_s, end_s), create(row, second), shown(from, to), snap(second) -> second.
 * A row: { text, colour, bars, marks?, curve?, others?, otherCurve? }; a bar: { start_s, end_s, colour, solid, text, of };
 * a curve: { times, values }, both ascending in time; marks are seconds.
 */
export class Tracks {
  constructor(root, playhead, on) {
    Object.assign(this, { root, playhead, on, rows: [], width: 0, from: 0, to: 1, length: 1, second: 0, chosen: null, drag: null });
    this.canvas = root.querySelector("canvas");
    this.extent = root.lastElementChild;
    this.patterns = new Map();
    new ResizeObserver(() => this.draw()).observe(root);
    root.addEventListener("scroll", () => this.draw());
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.up(event));
    root.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    root.addEventListener("dblclick", (event) => {
      const { row, bar, second } = this.at(event);
      if (row && !bar) this.on.create(row, second);
    });
  }

  setLength(seconds) {
    Object.assign(this, { length: Math.max(seconds, CLOSEST_S), from: 0, to: Math.max(seconds, CLOSEST_S) });
    this.draw();
  }

  setRows(rows) {
    let y = RULER;
    for (const row of rows) {
      row.lanes = stack(row.bars);
      Object.assign(row, { y, bottom: y + row.lanes * LANE, curved: row.curve || row.otherCurve });
      row.thin = row.bottom + 2;
      row.base = row.bottom + (row.others ? THIN : 0) + (row.curved ? CURVE : 0);
      y = row.base + GAP;
    }
    this.rows = rows;
    this.height = y;
    this.draw();
  }

  choose(of) {
    this.chosen = of;
    this.draw();
  }

  setSecond(second, follow) {
    this.second = second;
    const span = this.to - this.from;
    if (follow && !this.drag && (second > this.to || second < this.from)) this.show(second - span * 0.05, second + span * 0.95);
    else this.placePlayhead();
  }

  /** Sets the visible part, inside the video. */
  show(from, to) {
    const span = Math.min(Math.max(to - from, CLOSEST_S), this.length);
    this.from = Math.min(Math.max(from, 0), this.length - span);
    this.to = this.from + span;
    this.draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.on.shown(this.from, this.to), SETTLES_MS);
  }

  zoom(factor, at = this.second) {
    this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  get left() { return this.width < 500 ? 72 : 124; }
  get scale() { return (this.width - this.left - 12) / (this.to - this.from); }
  x(second) { return this.left + (second - this.from) * this.scale; }

  /** What is under a pointer: { second, row, bar, edge }. */
  at(event) {
    const box = this.root.getBoundingClientRect(), x = event.clientX - box.left;
    const y = event.clientY - box.top + (event.clientY - box.top > RULER ? this.root.scrollTop : 0);
    const second = Math.min(Math.max(this.from + (x - this.left) / this.scale, 0), this.length);
    const row = event.clientY - box.top > RULER && this.rows.find((each) => y >= each.y && y < each.base + GAP);
    if (!row || y >= row.bottom) return { second, row };
    const lane = Math.floor((y - row.y) / LANE);
    let found = null;
    for (const bar of row.bars) {
      const start = this.x(bar.start_s), end = Math.max(this.x(bar.end_s), start + 3);
      if (bar.lane !== lane || x < start - EDGE || x > end + EDGE) continue;
      const inner = Math.min(EDGE, (end - start) / 3); // of a short bar the middle can still be hit
      const edge = x < start + inner ? "start_s" : x > end - inner ? "end_s" : null;
      if (!found || !edge || bar.of === this.chosen) found = { bar, edge };
    }
    return { second, row, ...found };
  }

  wheel(event) {
    if (event.altKey) return;
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    if (Math.abs(sideways) >= Math.abs(event.deltaY) || event.shiftKey) {
      this.show(this.from + sideways / this.scale, this.to + sideways / this.scale);
    } else {
      this.zoom(Math.exp(Math.max(-400, Math.min(400, event.deltaY)) * 0.002), this.at(event).second);
    }
  }

  down(event) {
    if (event.button) return;
    this.drag = { x: event.clientX, from: this.from, to: this.to, moved: false, ...this.at(event) };
    this.root.setPointerCapture(event.pointerId);
  }

  move(event) {
    const { drag } = this;
    if (!drag) {
      const { bar, edge } = this.at(event);
      this.root.style.cursor = edge && bar.fixed !== true ? "ew-resize" : bar ? "pointer" : "default";
      return;
    }
    drag.moved ||= Math.abs(event.clientX - drag.x) > 3;
    if (!drag.moved) return;
    if (drag.edge && !drag.bar.fixed) {
      const second = this.on.snap(this.at(event).second), { start_s, end_s } = drag.bar;
      const tried = { start_s, end_s, [drag.edge]: second };
      if (tried.end_s - tried.start_s > 0.0005) drag.tried = tried;
      this.draw();
    } else {
      const shift = (drag.x - event.clientX) / this.scale;
      this.show(drag.from + shift, drag.to + shift);
    }
  }

  up(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.tried) this.on.trim(drag.bar, drag.tried.start_s, drag.tried.end_s);
    else if (!drag.moved && drag.bar) this.on.select(drag.bar, drag.second);
    else if (!drag.moved) this.on.seek(this.at(event).second);
    this.draw();
  }

  placePlayhead() {
    const x = this.x(this.second);
    this.playhead.hidden = x < this.left - 1 || x > this.width;
    this.playhead.style.transform = `translateX(${x}px)`;
  }

  draw() {
    const began = performance.now(), { root, canvas } = this;
    const width = root.clientWidth, height = root.clientHeight, ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    this.width = width;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    this.extent.style.height = `${Math.max((this.height ?? 0) - height, 0)}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.drawRuler(pen, width, height);
    pen.save();
    pen.beginPath();
    pen.rect(0, RULER, width, height);
    pen.clip();
    pen.translate(0, -root.scrollTop);
    for (const row of this.rows) {
      if (row.base + GAP >= root.scrollTop && row.y <= root.scrollTop + height) this.drawRow(pen, row, width);
    }
    pen.restore();
    this.placePlayhead();
    root.dataset.drawMs = (performance.now() - began).toFixed(1);
  }

  drawRuler(pen, width, height) {
    const step = STEPS.find((each) => each * this.scale >= 70) ?? 14400;
    for (let second = Math.ceil(this.from / step) * step; second <= this.to + 1e-9; second += step) {
      const x = Math.round(this.x(second)) + 0.5;
      pen.fillStyle = "#eceef2";
      pen.fillRect(x, RULER - 4, 1, height);
      pen.fillStyle = "#565e6c";
      const text = clock(second, step < 1 ? 1 : 0);
      if (x + 3 + pen.measureText(text).width < width) pen.fillText(text, x + 3, RULER / 2);
    }
  }

  drawRow(pen, row, width) {
    pen.fillStyle = "#1f2430";
    pen.fillText(shorten(pen, row.text, this.left - 22), 14, row.y + LANE / 2);
    if (row.chosen) {
      pen.fillStyle = "#2d6cec";
      pen.fillRect(4, row.y, 3, row.base - row.y);
    }
    pen.fillStyle = "#e3e6eb";
    pen.fillRect(this.left, row.base + 1, width, 1);
    pen.save();
    pen.beginPath();
    pen.rect(this.left, row.y, width, row.base + GAP - row.y);
    pen.clip();
    if (row.otherCurve) this.drawCurve(pen, row, row.otherCurve, "#767e8c", [3, 3]);
    if (row.curve) this.drawCurve(pen, row, row.curve, row.colour, []);
    for (const bar of row.bars) this.drawBar(pen, bar, row.y + bar.lane * LANE + 2, LANE - 4);
    for (const bar of row.others ?? []) this.drawBar(pen, bar, row.thin, THIN - 3);
    pen.fillStyle = "#1f2430";
    for (const second of row.marks ?? []) {
      const x = this.x(second);
      pen.fillRect(x - 1, row.bottom - 6, 2, 6);
    }
    pen.restore();
  }

  drawBar(pen, bar, y, height) {
    const tried = this.drag?.tried && this.drag.bar === bar ? this.drag.tried : bar;
    const x = this.x(tried.start_s), end = this.x(tried.end_s);
    if (end < this.left || x > this.width) return;
    const width = Math.max(end - x, 2), isChosen = this.chosen !== null && bar.of === this.chosen;
    if (width < 4 && !isChosen) { // thousands of them are seen at once
      pen.fillStyle = bar.solid ? bar.colour : `${bar.colour}90`;
      pen.fillRect(x, y, width, height);
      return;
    }
    pen.beginPath();
    pen.roundRect(x, y, width, height, Math.min(4, width / 2));
    pen.fillStyle = bar.solid ? bar.colour : this.hatched(pen, bar.colour);
    pen.fill();
    pen.lineWidth = isChosen ? 2.5 : 1;
    pen.strokeStyle = isChosen ? "#111827" : bar.colour;
    pen.stroke();
    if (height < 12 || width < 30) return;
    const seen = Math.max(x, this.left), text = shorten(pen, bar.text, end - seen - 12);
    if (!text) return;
    if (!bar.solid) {
      pen.fillStyle = "rgba(255,255,255,.85)";
      pen.fillRect(seen + 4, y + 3, pen.measureText(text).width + 5, height - 6);
    }
    pen.fillStyle = bar.solid && isDark(bar.colour) ? "#ffffff" : "#111827";
    pen.fillText(text, seen + 6, y + height / 2 + 0.5);
  }

  /** Of several points in one column of pixels the highest is drawn. */
  drawCurve(pen, row, curve, colour, dashes) {
    const { times, values } = curve, height = CURVE - 4;
    let index = Math.max(lowerBound(times, this.from) - 1, 0);
    pen.beginPath();
    for (let last = -Infinity, best = 0; index < times.length; index += 1) {
      const x = Math.round(this.x(times[index]));
      best = x === last ? Math.max(best, values[index]) : values[index];
      last = x;
      if (index + 1 < times.length && Math.round(this.x(times[index + 1])) === x) continue;
      pen.lineTo(x, row.base - 1 - best * height);
      if (times[index] > this.to) break;
    }
    pen.setLineDash(dashes);
    pen.lineWidth = 1;
    pen.strokeStyle = colour;
    pen.stroke();
    pen.setLineDash([]);
  }

  hatched(pen, colour) {
    if (!this.patterns.has(colour)) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 8;
      const brush = tile.getContext("2d");
      brush.fillStyle = `${colour}30`;
      brush.fillRect(0, 0, 8, 8);
      brush.strokeStyle = `${colour}a0`;
      brush.lineWidth = 2;
      for (const shift of [-8, 0, 8]) {
        brush.moveTo(shift - 1, 9);
        brush.lineTo(shift + 9, -1);
      }
      brush.stroke();
      this.patterns.set(colour, pen.createPattern(tile, "repeat"));
    }
    return this.patterns.get(colour);
  }
}

/** Gives overlapping bars lanes below one another; returns how many there are. */
function stack(bars) {
  const ends = [];
  for (const bar of [...bars].sort((a, b) => a.start_s - b.start_s)) {
    const free = ends.findIndex((end) => end <= bar.start_s + 1e-6);
    bar.lane = free < 0 ? ends.length : free;
    ends[bar.lane] = bar.end_s;
  }
  return Math.max(ends.length, 1);
}

export function lowerBound(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function shorten(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let length = Math.min(text.length, Math.floor(width / 5));
  while (length > 1 && pen.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return length > 1 ? `${text.slice(0, length)}…` : "";
}
