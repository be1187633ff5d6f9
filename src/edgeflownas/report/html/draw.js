"use strict";
// Drawing: one SVG a chart, from the descriptions that report/html/charts.py makes.  No state of the page in here.

const SVG = "http://www.w3.org/2000/svg";

function node(name, attributes, parent, text) {
  const made = ["svg", "g", "path", "line", "rect", "circle", "text", "a", "title"].includes(name) && !(attributes && attributes.html)
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key !== "html" && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

const MARK_ROW = 18;  // px of height for each row of findings above a plot
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const colour = (name) => `var(--${name || "c0"})`;

function stepOf(span, about) {
  const power = 10 ** Math.floor(Math.log10(span / about));
  return power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= about);
}

function linearTicks(low, high, about) {
  const step = stepOf(high - low, about);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n += 1) found.push(n * step);
  return { values: found, digits: Math.max(0, Math.min(10, -Math.floor(Math.log10(step) + 1e-9))) };
}

function logTicks(low, high, about) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const factors = last - first <= 1 ? [1, 2, 3, 5, 7] : last - first <= 3 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil((last - first) / (about * 1.5)));
  const found = [];
  for (let power = first; power <= last; power += every) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return { values: found, digits: null };
}

function tickText(value, digits) {
  if (digits === null || (value !== 0 && (Math.abs(value) >= 1e6 || digits > 4))) {
    if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) {
      return value.toExponential(1).replace(".0e", "e").replace("e+", "e").replace("-", "\u2212");
    }
    return String(Number(value.toPrecision(3))).replace("-", "\u2212");
  }
  if (value === 0) return "0";
  return value.toFixed(digits).replace("-", "\u2212");
}

function valueText(value, chart) {
  if (!known(value)) return "no value";
  const digits = chart.digits === undefined ? 4 : chart.digits;
  const text = digits > 4 || chart.scale === "log" ? Number(value).toPrecision(4) : value.toFixed(digits);
  return text + (chart.scale === "percent" ? " %" : "");
}

// Places of a line as [x, y] in data units; null where the line is broken.
function placesOf(line, axes, window) {
  const xs = axes[line.x], found = [];
  xs.forEach((x, i) => {
    if (!known(x) || x < window[0] || x > window[1]) return;
    found.push(known(line.y[i]) ? [x, line.y[i], i] : null);
  });
  return found;
}

function bounds(chart, lines, axes, window) {
  let low = Infinity, high = -Infinity;
  const take = (value) => {
    if (!known(value) || (chart.scale === "log" && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const line of lines) {
    axes[line.x].forEach((x, i) => {
      if (!known(x) || x < window[0] || x > window[1]) return;
      take(line.y[i]);
      if (line.low) take(line.low[i]);
      if (line.high) take(line.high[i]);
    });
  }
  if (low > high) [low, high] = chart.scale === "log" ? [1, 10] : [0, 1];
  const fixed = chart.limits || [null, null];
  if (chart.scale === "log") return [low / 1.25, high * 1.25];
  if (low > 0 && low < high / 3 && !known(fixed[0])) return [0, known(fixed[1]) ? fixed[1] : high * 1.07];
  const room = (high - low || Math.abs(high) * 0.02 || 1) * 0.07;
  return [known(fixed[0]) ? fixed[0] : low - room, known(fixed[1]) ? fixed[1] : high + room];
}

// A line in at most four points a pixel column (first, lowest, highest, last): what a screen can show, spikes included.
function pathOf(places, toX, toY) {
  let path = "", column = null, pen = false;
  const flush = () => {
    if (!column) return;
    const points = [...new Set([column.first, column.low, column.high, column.last])].sort((a, b) => a[2] - b[2]);
    for (const point of points) {
      path += `${pen ? "L" : "M"}${toX(point[0]).toFixed(1)} ${toY(point[1]).toFixed(1)}`;
      pen = true;
    }
    column = null;
  };
  for (const place of places) {
    if (place === null) { flush(); pen = false; continue; }
    const at = Math.round(toX(place[0]));
    if (column && column.at !== at) flush();
    if (!column) column = { at, first: place, low: place, high: place, last: place };
    if (place[1] < column.low[1]) column.low = place;
    if (place[1] > column.high[1]) column.high = place;
    column.last = place;
  }
  flush();
  return path;
}

function bandPath(line, axes, window, toX, toY) {
  const low = [], high = [];
  axes[line.x].forEach((x, i) => {
    if (!known(x) || x < window[0] || x > window[1]) return;
    const bottom = line.low ? line.low[i] : line.y[i], top = line.high ? line.high[i] : line.y[i];
    if (!known(bottom) || !known(top)) return;
    low.push(`${toX(x).toFixed(1)} ${toY(bottom).toFixed(1)}`);
    high.push(`${toX(x).toFixed(1)} ${toY(top).toFixed(1)}`);
  });
  return low.length > 1 ? `M${high.join("L")}L${low.reverse().join("L")}Z` : "";
}

function drawSeries(svg, line, axes, window, toX, toY) {
  const places = placesOf(line, axes, window);
  const look = { stroke: colour(line.colour), class: `line ${line.style || "line"}` };
  if (line.style !== "points") {
    const path = pathOf(places, toX, toY);
    if (path) node("path", { ...look, d: path }, svg);
  }
  places.forEach((place, i) => {  // a value without neighbours would be an invisible line
    const alone = place && (line.style === "points" || (!places[i - 1] && !places[i + 1]));
    if (alone) node("circle", { cx: toX(place[0]), cy: toY(place[1]), r: 3, fill: colour(line.colour) }, svg);
  });
}

function drawStack(svg, lines, axes, window, toX, toY) {
  const xs = axes[lines[0].x], sums = xs.map(() => 0);
  lines.forEach((line) => {
    const low = sums.slice();
    line.y.forEach((value, i) => { sums[i] += known(value) ? value : 0; });
    const area = { ...line, low, high: sums.slice() };
    const path = bandPath(area, axes, window, toX, toY);
    if (path) node("path", { d: path, fill: colour(line.colour), "fill-opacity": 0.78, stroke: "var(--paper)", "stroke-width": 0.6 }, svg);
    else xs.forEach((x, i) => {
      if (!known(x) || x < window[0] || x > window[1]) return;
      node("rect", { x: toX(x) - 12, width: 24, y: toY(sums[i]), height: Math.max(0, toY(low[i]) - toY(sums[i])), fill: colour(line.colour), "fill-opacity": 0.78 }, svg);
    });
  });
}

// Axes of one chart: returns the functions that place values, and the frame.
function frame(svg, chart, options) {
  const { width, height, window, range, mini, top } = options;
  const log = chart.scale === "log";
  const about = mini ? 3 : Math.max(3, Math.round(height / 55));
  const yTicks = (log ? logTicks : linearTicks)(range[0], range[1], about);
  const texts = yTicks.values.map((value) => tickText(value, yTicks.digits));
  const left = Math.max(...texts.map((text) => text.length), 2) * 7.1 + 10;
  const box = { left, right: width - (mini ? 8 : 14), top, bottom: height - (mini ? 18 : 34) };
  const toX = (x) => window[1] === window[0] ? (box.left + box.right) / 2
    : box.left + (box.right - box.left) * (x - window[0]) / (window[1] - window[0]);
  const share = log ? (y) => Math.log(Math.max(y, 1e-300) / range[0]) / Math.log(range[1] / range[0])
    : (y) => (y - range[0]) / (range[1] - range[0]);
  const toY = (y) => box.bottom - (box.bottom - box.top) * Math.min(Math.max(share(y), -0.02), 1.02);
  yTicks.values.forEach((value, i) => {
    const y = toY(value);
    node("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: "grid-line" }, svg);
    node("text", { x: box.left - 6, y: y + 4, "text-anchor": "end" }, svg, texts[i]);
  });
  node("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "base" }, svg);
  if (window[1] > window[0] && mini) {
    node("text", { x: box.left, y: box.bottom + 13 }, svg, tickText(Math.round(window[0]), 0));
    node("text", { x: box.right, y: box.bottom + 13, "text-anchor": "end" }, svg, tickText(window[1], 0));
  } else if (window[1] > window[0]) {
    const xTicks = linearTicks(window[0], window[1], Math.max(2, Math.floor((box.right - box.left) / 75)));
    const whole = xTicks.values.filter((value) => Number.isInteger(Number(value.toFixed(9))));
    for (const value of whole) {
      node("line", { x1: toX(value), x2: toX(value), y1: box.bottom, y2: box.bottom + 4, class: "base" }, svg);
      node("text", { x: toX(value), y: box.bottom + 15, "text-anchor": "middle" }, svg, tickText(value, 0));
    }
  } else {
    node("text", { x: toX(window[0]), y: box.bottom + 15, "text-anchor": "middle" }, svg, tickText(window[0], 0));
  }
  if (!mini) node("text", { x: box.right, y: height - 3, "text-anchor": "end" }, svg, chart.x_label || "epoch");
  return { box, toX, toY };
}

function axisWords(chart, range) {
  if (chart.scale === "log") return `${chart.y_label}, logarithmic`;
  const cut = range[0] > 0 || range[1] < 0;
  return chart.y_label + (cut ? ", axis does not start at 0" : "");
}

// Findings at their epochs: a number above the plot and a dashed line; a long stretch is a bar from first to last.
function drawMarks(svg, marks, window, box, toX, mini) {
  for (const { mark, epoch, x, at, half, row, right, end } of placeMarks(marks, window, box, toX)) {
      const y = box.top - 10 - row * MARK_ROW;
      if (mini && mark.span) continue;
      node("line", { x1: x, x2: x, y1: mini ? box.top : y, y2: box.bottom, class: "mark-line" }, svg);
      if (mini) continue;
      if (mark.span) node("line", { x1: at, x2: right, y1: y, y2: y, class: `span ${mark.severity}` }, svg);
      const link = node("a", { href: `#${mark.anchor}`, class: `mark ${mark.severity}`, "aria-label": `finding ${mark.number}: ${mark.title}` }, svg);
      node("rect", { x: at - half, y: y - 8, width: 2 * half, height: 16, rx: 8 }, link);
      node("text", { x: at, y: y + 3.5, "text-anchor": "middle" }, link, mark.number);
      node("title", {}, link, `${mark.number} ${mark.title}, epoch ${mark.epochs[0]}${mark.span ? ` to ${end}` : ""}`);
  }
}

// Where each number goes: above its epoch, in the lowest row in which it touches no other.
function placeMarks(marks, window, box, toX) {
  const placed = [];
  for (const mark of marks) {
    const [first, end] = [mark.epochs[0], mark.epochs[mark.epochs.length - 1]];
    if (mark.epochs.length === 0 || end < window[0] || first > window[1]) continue;
    const inside = (epoch) => epoch >= window[0] && epoch <= window[1];
    for (const epoch of mark.span ? [Math.max(first, window[0])] : mark.epochs.filter(inside)) {
      const x = toX(epoch), half = Math.max(8, mark.number.length * 3.2 + 4);
      const at = Math.min(Math.max(x, box.left + half), box.right - half);
      const right = mark.span ? Math.max(at + half, toX(Math.min(end, window[1]))) : at + half;
      let row = 0;
      while (placed.some((other) => other.row === row && other.left < right + 2 && at - half < other.right + 2)) row += 1;
      placed.push({ mark, epoch, x, at, half, row, left: at - half, right, end });
    }
  }
  return placed;
}

// Rows of numbers above a plot, before its left edge is known exactly.
function markRows(marks, window, width) {
  const box = { left: 52, right: width - 16 };
  const toX = (x) => box.left + (box.right - box.left) * (x - window[0]) / (window[1] - window[0] || 1);
  return Math.max(0, ...placeMarks(marks, window, box, toX).map((place) => place.row + 1));
}

function drawLines(host, chart, page, options) {
  const { mini = false, range: shared, marks = [], width = page.widthOf(host, mini) } = options || {};
  const lines = chart.series.filter((line) => !page.isHidden(chart, line));
  const window = page.window(chart.series);
  const narrow = width < 480;
  const rows = mini ? 0 : markRows(marks, window, width);
  const top = mini ? 8 : 24 + rows * MARK_ROW;
  const height = mini ? (width > 260 ? 150 : 118) : (narrow ? 230 : chart.tall ? 300 : 250) + rows * MARK_ROW;
  const range = shared || (chart.kind === "stack" ? chart.limits : bounds(chart, lines, page.axes, window));
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: options && options.tab !== undefined ? options.tab : 0, role: "group", "aria-roledescription": "chart" }, host);
  const { box, toX, toY } = frame(svg, chart, { width, height, window, range, mini, top });
  if (!mini) node("text", { x: 2, y: 12, class: "axis-label" }, svg, axisWords(chart, range));
  drawMarks(svg, marks, window, box, toX, mini);
  if (chart.kind === "stack") drawStack(svg, lines, page.axes, window, toX, toY);
  else {
    for (const line of lines) {
      if (!line.low && !line.high) continue;
      const band = bandPath(line, page.axes, window, toX, toY);
      if (band) node("path", { d: band, fill: colour(line.colour), "fill-opacity": 0.13 }, svg);
    }
    for (const line of lines) drawSeries(svg, line, page.axes, window, toX, toY);
  }
  return { svg, box, toX, toY, window, lines };
}

// Ranks over epochs, 1 on top; roles and picked subnets in colour, the others grey.
function drawRanks(host, chart, page, marks) {
  const width = page.widthOf(host, false), lines = chart.series;
  const window = page.window(lines);
  const most = Math.max(lines.length, ...lines.flatMap((line) => line.y.filter(known)));
  const gap = lines.length > 24 ? 15 : 21, rows = marks.length ? markRows(marks, window, width) * MARK_ROW : 0;
  const height = 34 + rows + (most - 1) * gap + 40;
  const longest = Math.max(...lines.map((line) => line.name.length));
  const box = { left: 30, right: width - longest * 6.5 - 14, top: 30 + rows, bottom: 30 + rows + (most - 1) * gap };
  const toX = (x) => window[1] === window[0] ? (box.left + box.right) / 2 : box.left + (box.right - box.left) * (x - window[0]) / (window[1] - window[0]);
  const toY = (rank) => box.top + (rank - 1) * gap;
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "group", "aria-roledescription": "chart" }, host);
  node("text", { x: 2, y: 12, class: "axis-label" }, svg, "rank (1 = lowest EPE)");
  for (let rank = 1; rank <= most; rank += 1) {
    node("line", { x1: box.left, x2: box.right, y1: toY(rank), y2: toY(rank), class: "grid-line" }, svg);
    if (most <= 16 || rank === 1 || rank % 4 === 0) node("text", { x: box.left - 8, y: toY(rank) + 4, "text-anchor": "end" }, svg, rank);
  }
  const ticks = window[1] > window[0] ? linearTicks(window[0], window[1], Math.max(2, Math.floor((box.right - box.left) / 75))).values.filter(Number.isInteger) : [window[0]];
  for (const tick of ticks) node("text", { x: toX(tick), y: box.bottom + 22, "text-anchor": "middle" }, svg, tick);
  node("text", { x: box.right, y: height - 2, "text-anchor": "end" }, svg, "epoch");
  drawMarks(svg, marks, window, { ...box, top: box.top - 8 }, toX, false);
  const ordered = [...lines].sort((a, b) => Number(Boolean(page.archColour(chart, a.arch))) - Number(Boolean(page.archColour(chart, b.arch))));
  for (const line of ordered) {
    const own = page.archColour(chart, line.arch);
    const group = node("g", { class: "rank-line", "data-arch": line.arch }, svg);
    drawSeries(group, { ...line, colour: own || "muted", style: own ? "line" : "thin" }, page.axes, window, toX, toY);
    if (!own) group.setAttribute("opacity", 0.38);
  }
  const ends = lines.map((line) => {
    const places = placesOf(line, page.axes, window).filter(Boolean);
    return { line, y: places.length ? toY(places[places.length - 1][1]) : box.bottom + 14 };
  }).sort((a, b) => a.y - b.y || a.line.arch - b.line.arch);
  ends.forEach((end, i) => { if (i && end.y < ends[i - 1].y + 13) end.y = ends[i - 1].y + 13; });
  const over = ends.length ? ends[ends.length - 1].y + 4 - height : 0;
  if (over > 0) svg.setAttribute("viewBox", `0 0 ${width} ${height + over + 4}`);
  for (const end of ends) {
    const own = page.archColour(chart, end.line.arch);
    const label = node("text", { x: box.right + 8, y: end.y + 4, class: `arch-label ${own ? "on" : ""}`, style: own ? `fill:${colour(own)}` : "" }, svg, end.line.name);
    label.addEventListener("click", () => page.pick(end.line.arch));
  }
  return { svg, box, toX, toY, window, lines };
}
