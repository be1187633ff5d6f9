"use strict";
// One SVG a chart, from the descriptions that report/figures.py makes.  No state of the page in here.

const MARK_ROW = 18;  // px of height for each row of findings above a plot

function logTicks(low, high, about) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), values = [];
  const factors = last - first <= 1 ? [1, 2, 3, 5, 7] : last - first <= 3 ? [1, 2, 5] : [1];
  for (let power = first; power <= last; power += Math.max(1, Math.ceil((last - first) / (about * 1.5)))) {
    values.push(...factors.map((factor) => factor * 10 ** power).filter((value) => value >= low * 0.999 && value <= high * 1.001));
  }
  return { values, digits: null };
}

function tickText(value, digits) {
  let text = value.toFixed(digits || 0);
  if (value === 0) text = "0";
  else if (digits === null || Math.abs(value) >= 1e6 || digits > 4) {
    const large = Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3;
    text = large ? value.toExponential(1).replace(".0e", "e").replace("e+", "e") : String(Number(value.toPrecision(3)));
  }
  return text.replace("-", "\u2212");
}

function valueText(value, chart) {
  if (!known(value)) return "no value";
  const digits = chart.digits === undefined ? 4 : chart.digits;
  const text = digits > 4 || chart.scale === "log" ? Number(value).toPrecision(4) : value.toFixed(digits);
  return text + (chart.scale === "percent" ? " %" : "");
}

// Indices of a line's places within the window.
const inside = (line, axes, window) => axes[line.x].flatMap((x, i) => (known(x) && x >= window[0] && x <= window[1] ? [i] : []));

// Places of a line as [x, y, index]; null where the line is broken.
const placesOf = (line, axes, window) => inside(line, axes, window).map((i) => (known(line.y[i]) ? [axes[line.x][i], line.y[i], i] : null));

function bounds(chart, lines, axes, window) {
  const usable = (value) => known(value) && (chart.scale !== "log" || value > 0);
  const values = lines.flatMap((line) => inside(line, axes, window).flatMap((i) => [line.y[i], line.low && line.low[i], line.high && line.high[i]])).filter(usable);
  let [low, high] = chart.scale === "log" ? [1, 10] : [0, 1];
  if (values.length) [low, high] = values.reduce((ends, value) => [Math.min(ends[0], value), Math.max(ends[1], value)], [Infinity, -Infinity]);
  if (chart.scale === "log") return [low / 1.25, high * 1.25];
  const [bottom, top] = chart.limits || [null, null];
  const zero = low > 0 && low < high / 3 && !known(bottom);
  const room = (zero ? high : high - low || Math.abs(high) * 0.02 || 1) * 0.07;
  return [known(bottom) ? bottom : zero ? 0 : low - room, known(top) ? top : high + room];
}

// A line in at most four points a pixel column (first, lowest, highest, last): what a screen can show, spikes included.
function pathOf(places, toX, toY) {
  let path = "", column = null, pen = false;
  const flush = () => {
    if (!column) return;
    for (const point of [...new Set(column.points)].sort((a, b) => a[2] - b[2])) {
      path += `${pen ? "L" : "M"}${toX(point[0]).toFixed(1)} ${toY(point[1]).toFixed(1)}`;
      pen = true;
    }
    column = null;
  };
  for (const place of places) {
    const at = place && Math.round(toX(place[0]));
    if (!place || (column && column.at !== at)) flush();
    if (!place) { pen = false; continue; }
    column = column || { at, points: [place, place, place, place] };
    const { points } = column;
    if (place[1] < points[1][1]) points[1] = place;
    if (place[1] > points[2][1]) points[2] = place;
    points[3] = place;
  }
  flush();
  return path;
}

function bandPath(line, axes, window, toX, toY) {
  const ends = inside(line, axes, window).map((i) => [axes[line.x][i], (line.low || line.y)[i], (line.high || line.y)[i]]).filter((place) => place.every(known));
  const edge = (side) => ends.map((place) => `${toX(place[0]).toFixed(1)} ${toY(place[side]).toFixed(1)}`);
  return ends.length > 1 ? `M${edge(2).join("L")}L${edge(1).reverse().join("L")}Z` : "";
}

function drawSeries(svg, line, axes, window, toX, toY) {
  const places = placesOf(line, axes, window), path = line.style === "points" ? "" : pathOf(places, toX, toY);
  if (path) node("path", { stroke: colour(line.colour), class: `line ${line.style || "line"}`, d: path }, svg);
  places.forEach((place, i) => {  // a value without neighbours would be an invisible line
    const alone = place && (line.style === "points" || (!places[i - 1] && !places[i + 1]));
    if (alone) node("circle", { cx: toX(place[0]), cy: toY(place[1]), r: 3, fill: colour(line.colour) }, svg);
  });
}

function drawStack(svg, lines, axes, window, toX, toY) {
  let sums = axes[lines[0].x].map(() => 0);
  for (const line of lines) {
    const low = sums, look = { fill: colour(line.colour), "fill-opacity": 0.78 };
    sums = low.map((sum, i) => sum + (known(line.y[i]) ? line.y[i] : 0));
    const path = bandPath({ ...line, low, high: sums }, axes, window, toX, toY);
    if (path) node("path", { ...look, d: path, stroke: "var(--paper)", "stroke-width": 0.6 }, svg);
    else for (const i of inside(line, axes, window)) node("rect", { ...look, x: toX(axes[line.x][i]) - 12, width: 24, y: toY(sums[i]), height: Math.max(0, toY(low[i]) - toY(sums[i])) }, svg);
  }
}

const across = (window, box) => (x) => (window[1] === window[0] ? (box.left + box.right) / 2 : box.left + ((box.right - box.left) * (x - window[0])) / (window[1] - window[0]));

// An empty chart: the ticks of y as [value, text], those of x in whole numbers, and the words at both.
function frame(host, chart, { width, height, box, window, ticks, toY, words, mini, tab = 0 }) {
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: tab, role: "group", "aria-roledescription": "chart" }, host);
  const toX = across(window, box);
  const under = (x, text, anchor = "middle") => node("text", { x, y: box.bottom + (mini ? 13 : 15), "text-anchor": anchor }, svg, text);
  for (const [value, text] of ticks) {
    node("line", { x1: box.left, x2: box.right, y1: toY(value), y2: toY(value), class: "grid-line" }, svg);
    node("text", { x: box.left - 6, y: toY(value) + 4, "text-anchor": "end" }, svg, text);
  }
  node("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "base" }, svg);
  if (window[1] === window[0]) under(toX(window[0]), tickText(window[0], 0));
  else if (mini) {
    under(box.left, tickText(Math.round(window[0]), 0), "start");
    under(box.right, tickText(window[1], 0), "end");
  } else for (const value of linearTicks(...window, Math.max(2, Math.floor((box.right - box.left) / 75))).values) {
    if (!Number.isInteger(Number(value.toFixed(9)))) continue;
    node("line", { x1: toX(value), x2: toX(value), y1: box.bottom, y2: box.bottom + 4, class: "base" }, svg);
    under(toX(value), tickText(value, 0));
  }
  if (!mini) node("text", { x: box.right, y: height - 3, "text-anchor": "end" }, svg, chart.x_label || "epoch");
  if (!mini) node("text", { x: 2, y: 12, class: "axis-label" }, svg, words);
  return { svg, box, toX, toY, window };
}

function axisWords(chart, range) {
  if (chart.scale === "log") return `${chart.y_label}, logarithmic`;
  return chart.y_label + (range[0] > 0 || range[1] < 0 ? ", axis does not start at 0" : "");
}

// Findings at their epochs: a number above the plot and a dashed line; a long stretch is a bar from first to last.
function drawMarks({ svg, box, toX, window }, marks, mini) {
  for (const { mark, x, at, half, row, right, end } of placeMarks(marks, window, box, toX)) {
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
    const first = mark.epochs[0], end = mark.epochs[mark.epochs.length - 1], inWindow = (epoch) => epoch >= window[0] && epoch <= window[1];
    const shown = mark.span ? [Math.max(first, window[0])].filter(() => end >= window[0] && first <= window[1]) : mark.epochs.filter(inWindow);
    for (const epoch of shown) {
      const x = toX(epoch), half = Math.max(8, mark.number.length * 3.2 + 4), at = Math.min(Math.max(x, box.left + half), box.right - half);
      const right = mark.span ? Math.max(at + half, toX(Math.min(end, window[1]))) : at + half, left = at - half;
      let row = 0;
      while (placed.some((other) => other.row === row && other.left < right + 2 && left < other.right + 2)) row += 1;
      placed.push({ mark, x, at, half, row, left, right, end });
    }
  }
  return placed;
}

// Rows of numbers above a plot, before its left edge is known exactly.
function markRows(marks, window, width) {
  const box = { left: 52, right: width - 16 };
  return Math.max(0, ...placeMarks(marks, window, box, across(window, box)).map((place) => place.row + 1));
}

function drawLines(host, chart, page, { mini = false, range: shared = null, marks = [], tab = 0 }) {
  const width = page.widthOf(host, mini), window = page.window(chart.series), log = chart.scale === "log";
  const lines = chart.series.filter((line) => !page.isHidden(chart, line)), stack = chart.kind === "stack";
  const rows = mini ? 0 : markRows(marks, window, width);
  const height = mini ? (width > 260 ? 150 : 118) : (width < 480 ? 230 : chart.tall ? 300 : 250) + rows * MARK_ROW;
  const range = shared || (stack ? chart.limits : bounds(chart, lines, page.axes, window));
  const { values, digits } = (log ? logTicks : linearTicks)(...range, mini ? 3 : Math.max(3, Math.round(height / 55)));
  const ticks = values.map((value) => [value, tickText(value, digits)]);
  const left = Math.max(...ticks.map(([, text]) => text.length), 2) * 7.1 + 10;
  const box = { left, right: width - (mini ? 8 : 14), top: mini ? 8 : 24 + rows * MARK_ROW, bottom: height - (mini ? 18 : 34) };
  const share = log ? (y) => Math.log(Math.max(y, 1e-300) / range[0]) / Math.log(range[1] / range[0]) : (y) => (y - range[0]) / (range[1] - range[0]);
  const toY = (y) => box.bottom - (box.bottom - box.top) * Math.min(Math.max(share(y), -0.02), 1.02);
  const drawn = frame(host, chart, { width, height, box, window, ticks, toY, words: axisWords(chart, range), mini, tab });
  drawMarks(drawn, marks, mini);
  if (stack) drawStack(drawn.svg, lines, page.axes, window, drawn.toX, toY);
  else {
    for (const line of lines) {
      const band = (line.low || line.high) && bandPath(line, page.axes, window, drawn.toX, toY);
      if (band) node("path", { d: band, fill: colour(line.colour), "fill-opacity": 0.13 }, drawn.svg);
    }
    for (const line of lines) drawSeries(drawn.svg, line, page.axes, window, drawn.toX, toY);
  }
  return { ...drawn, lines };
}

// Ranks over epochs, 1 on top; roles and picked subnets in colour, the others grey; names at the right end.
function drawRanks(host, chart, page, marks) {
  const width = page.widthOf(host, false), lines = chart.series, window = page.window(lines);
  const most = Math.max(lines.length, ...lines.flatMap((line) => line.y.filter(known)));
  const gap = lines.length > 24 ? 15 : 21, rows = marks.length ? markRows(marks, window, width) * MARK_ROW : 0;
  const longest = Math.max(...lines.map((line) => line.name.length)), bottom = 30 + rows + (most - 1) * gap;
  const box = { left: 30, right: width - longest * 6.5 - 14, top: 30 + rows, bottom: bottom + 7 }, height = bottom + 44;
  const toY = (rank) => box.top + (rank - 1) * gap, ranks = Array.from({ length: most }, (_, place) => place + 1);
  const ticks = ranks.map((rank) => [rank, most <= 16 || rank === 1 || rank % 4 === 0 ? rank : ""]);
  const drawn = frame(host, chart, { width, height, box, window, ticks, toY, words: "rank (1 = lowest EPE)" }), { svg, toX } = drawn;
  drawMarks({ ...drawn, box: { ...box, top: box.top - 8 } }, marks, false);
  const own = (line) => page.archColour(chart, line.arch);
  for (const line of [...lines].sort((a, b) => Boolean(own(a)) - Boolean(own(b)))) {
    const group = node("g", { opacity: own(line) ? null : 0.38 }, svg);
    drawSeries(group, { ...line, colour: own(line) || "muted", style: own(line) ? "line" : "thin" }, page.axes, window, toX, toY);
  }
  const ends = lines.map((line) => {
    const last = placesOf(line, page.axes, window).filter(Boolean).pop();
    return { line, y: last ? toY(last[1]) : bottom + 14 };
  }).sort((a, b) => a.y - b.y || a.line.arch - b.line.arch);
  ends.forEach((end, i) => { if (i && end.y < ends[i - 1].y + 13) end.y = ends[i - 1].y + 13; });
  const over = ends.length ? ends[ends.length - 1].y + 4 - height : 0;
  if (over > 0) svg.setAttribute("viewBox", `0 0 ${width} ${height + over + 4}`);
  for (const { line, y } of ends) {
    const label = node("text", { x: box.right + 8, y: y + 4, class: `arch-label ${own(line) ? "on" : ""}`, style: own(line) ? `fill:${colour(own(line))}` : "" }, svg, line.name);
    label.addEventListener("click", () => page.pick(line.arch));
  }
  return { ...drawn, lines };
}
