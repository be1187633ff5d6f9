"use strict";
// The report's charts, an SVG each, from the descriptions of report/figures.py: legends, values by pointer and keys, tools.

const MARK_ROW = 18;  // px of height for each row of findings above a plot
const EXTRA = ["c3", "c4", "c7", "c5"];  // colours of picked subnets

// A line with its points {x, y, low, high}; y is null where it is broken.
function opened(line) {
  const { low = line.y, high = line.y } = line;
  const points = data.axes[line.x].map((x, i) => ({ x, y: line.y[i], low: low[i], high: high[i] })).filter(({ x }) => known(x));
  return { colour: "c0", style: "line", ...line, points };
}

const charts = new Map(data.charts.map(({ series = [], panels = [], ...chart }) => [chart.id, {
  kind: "lines", x_label: "epoch", digits: 4, limits: [null, null], ...chart,
  series: series.map(opened), panels: panels.map((panel) => ({ ...panel, series: panel.series.map(opened) })),
}]));
const hidden = new Set(), picked = new Set();
let part = 1, run = 0, printing = false;

const rolesOf = (chart) => data.roles[chart.run || 0] || {};
const keyOf = (chart, line) => `${chart.id}\n${line.name}`;
const shownOf = (chart, lines) => lines.filter((line) => !hidden.has(keyOf(chart, line)));
const unit = (chart) => (/\(px\)|\(weighted px\)/.test(chart.y_label) ? " px" : "");
const within = (points, [from, to]) => points.filter(({ x }) => x >= from && x <= to);
// Paper: 7.3 inches at 96 dots, whole or half; what the screen's layout says does not count there.
const widthOf = (host, mini) => (printing ? (mini ? 160 : host.closest(".wide, .ranks") ? 690 : 335) : host.clientWidth || 640);

function archColour(chart, arch) {
  if (arch === undefined) return null;
  const roles = rolesOf(chart), own = { [roles.baseline]: "c2", [roles.worst]: "c1", [roles.best]: "c0" }[arch];
  return own || (picked.has(arch) ? EXTRA[[...picked].indexOf(arch) % EXTRA.length] : null);
}

function pick(arch) {
  if (!picked.delete(arch)) picked.add(arch);
  charts.forEach((chart) => { if (chart.kind === "ranks" || chart.panels.some((panel) => known(panel.arch))) draw(chart); });
}

// ---- numbers: what is shown of them, and how they are written ----

function windowOf(lines) {
  const [low, high] = endsOf(lines.flatMap((line) => line.points.map(({ x }) => x)));
  return low > high ? [0, 1] : [high - (high - low) * part, high];
}

function bounds(chart, lines, window) {
  const log = chart.scale === "log", usable = (value) => known(value) && (!log || value > 0);
  const values = lines.flatMap(({ points }) => within(points, window).flatMap(({ y, low, high }) => [y, low, high])).filter(usable);
  const [low, high] = values.length ? endsOf(values) : log ? [1, 10] : [0, 1], [bottom, top] = chart.limits;
  if (log) return [low / 1.25, high * 1.25];
  const zero = low > 0 && low < high / 3 && !known(bottom);
  const room = (zero ? high : high - low || Math.abs(high) * 0.02 || 1) * 0.07;
  return [known(bottom) ? bottom : zero ? 0 : low - room, known(top) ? top : high + room];
}

function logTicks(low, high, about) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), values = [];
  const factors = last - first <= 1 ? [1, 2, 3, 5, 7] : last - first <= 3 ? [1, 2, 5] : [1];
  for (let power = first; power <= last; power += Math.max(1, Math.ceil((last - first) / (about * 1.5)))) {
    values.push(...factors.map((factor) => factor * 10 ** power).filter((value) => value >= low * 0.999 && value <= high * 1.001));
  }
  return { values, digits: null };
}

function tickText(value, digits = 0) {
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
  const text = chart.digits > 4 || chart.scale === "log" ? value.toPrecision(4) : value.toFixed(chart.digits);
  return text + (chart.scale === "percent" ? " %" : "");
}

function axisWords(chart, range) {
  if (chart.scale === "log") return `${chart.y_label}, logarithmic`;
  return chart.y_label + (range[0] > 0 || range[1] < 0 ? ", axis does not start at 0" : "");
}

// ---- layouts: ends of the x axis and height of the plot (px), ticks [value, text], y as px below its top ----

function lineLayout(chart, lines, window, width, mini, shared, wide) {
  const log = chart.scale === "log", range = shared || bounds(chart, lines, window);
  const tall = mini ? (width > 260 ? 124 : 92) : width < 480 ? 172 : wide ? 242 : 192;
  const { values, digits } = (log ? logTicks : linearTicks)(...range, mini ? 3 : Math.max(3, Math.round((tall + 90) / 55)));
  const ticks = values.map((value) => [value, tickText(value, digits)]);
  const place = log ? (y) => Math.log(Math.max(y, 1e-300)) : (y) => y, [bottom, top] = range.map(place);
  const offset = (y) => tall * (1 - clamp((place(y) - bottom) / (top - bottom), -0.02, 1.02));
  const left = Math.max(...ticks.map(([, text]) => text.length), 2) * 7.1 + 10;
  return { left, right: width - (mini ? 8 : 14), tall, ticks, offset, words: axisWords(chart, range) };
}

// Ranks: 1 on top, names at the right end.
function rankLayout(chart, lines, window, width) {
  const most = Math.max(lines.length, ...lines.flatMap((line) => line.y.filter(known))), gap = lines.length > 24 ? 15 : 21;
  const ticks = Array.from({ length: most }, (_, i) => [i + 1, most <= 16 || i % 4 === 3 || !i ? i + 1 : ""]);
  const right = width - Math.max(...lines.map((line) => line.name.length)) * 6.5 - 14;
  return { left: 30, right, tall: (most - 1) * gap + 13, ticks, offset: (rank) => 6 + (rank - 1) * gap, words: "rank (1 = lowest EPE)" };
}

function placeTicks(window, room, mini) {
  if (window[1] === window[0]) return [[window[0], tickText(window[0])]];
  if (mini) return [[window[0], tickText(Math.round(window[0])), "start"], [window[1], tickText(window[1]), "end"]];
  const { values } = linearTicks(...window, Math.max(2, Math.floor(room / 75)));
  return values.filter((x) => Number.isInteger(Number(x.toFixed(9)))).map((x) => [x, tickText(x)]);
}

// Where the number of each finding goes: above its epoch, in the lowest row in which it touches no other.
function placeMarks(marks, window, left, right, toX) {
  const placed = [];
  for (const mark of marks) {
    const first = mark.epochs[0], end = mark.epochs.at(-1), shown = (epoch) => epoch >= window[0] && epoch <= window[1];
    const spans = end >= window[0] && first <= window[1] ? [Math.max(first, window[0])] : [];
    for (const epoch of mark.span ? spans : mark.epochs.filter(shown)) {
      const x = toX(epoch), half = Math.max(8, mark.number.length * 3.2 + 4), at = Math.min(Math.max(x, left + half), right - half);
      const last = mark.span ? Math.max(at + half, toX(Math.min(end, window[1]))) : at + half;
      let row = 0;
      while (placed.some((other) => other.row === row && other.at - other.half < last + 2 && at - half < other.last + 2)) row += 1;
      placed.push({ mark, x, at, half, row, last, end });
    }
  }
  return placed;
}

// ---- drawing ----

// A chart in `host`: its axes, findings, lines and what pointer and keys show of it.
function plot(host, chart, lines, marks, { mini = false, range = null, tab = 0, grid = null } = {}) {
  const width = widthOf(host, mini), window = windowOf(chart.series), make = chart.kind === "ranks" ? rankLayout : lineLayout;
  const { left, right, tall, ticks, offset, words } = make(chart, lines, window, width, mini, range, host.clientWidth > 700);
  const span = window[1] - window[0], toX = (x) => (span ? left + ((right - left) * (x - window[0])) / span : (left + right) / 2);
  const placed = placeMarks(marks, window, left, right, toX), rows = mini ? 0 : Math.max(0, ...placed.map(({ row }) => row + 1));
  const top = mini ? 8 : 24 + rows * MARK_ROW, box = { left, right, top, bottom: top + tall }, height = box.bottom + (mini ? 18 : 34);
  const toY = (y) => top + offset(y);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: tab, role: "group", "aria-roledescription": "chart" }, host);
  const across = placeTicks(window, right - left, mini).map(([x, ...rest]) => [toX(x), ...rest]);
  drawAxes(svg, box, ticks.map(([value, text]) => [toY(value), text]), across);
  if (!mini) {
    node("text", { x: right, y: height - 3, "text-anchor": "end" }, svg, chart.x_label);
    node("text", { x: 2, y: 12, class: "axis-label" }, svg, words);
  }
  placed.filter(({ mark }) => !(mini && mark.span)).forEach((place) => drawMark(svg, place, box, mini));
  ({ stack: drawStack, ranks: drawRanks, lines: drawLines })[chart.kind]({ svg, chart, box, width, height, window, toX, toY }, lines);
  hover({ svg, box, toX, toY, window, lines, grid }, chart);
}

// A finding at an epoch: a number above the plot and a dashed line; a long stretch is a bar from first to last.
function drawMark(svg, { mark, x, at, half, row, last, end }, box, mini) {
  const y = box.top - 10 - row * MARK_ROW;
  node("line", { x1: x, x2: x, y1: mini ? box.top : y, y2: box.bottom, class: "mark-line" }, svg);
  if (mini) return;
  if (mark.span) node("line", { x1: at, x2: last, y1: y, y2: y, class: `span ${mark.severity}` }, svg);
  const link = node("a", { href: `#${mark.anchor}`, class: `mark ${mark.severity}`, "aria-label": `finding ${mark.number}: ${mark.title}` }, svg);
  node("rect", { x: at - half, y: y - 8, width: 2 * half, height: 16, rx: 8 }, link);
  node("text", { x: at, y: y + 3.5, "text-anchor": "middle" }, link, mark.number);
  node("title", {}, link, `${mark.number} ${mark.title}, epoch ${mark.epochs[0]}${mark.span ? ` to ${end}` : ""}`);
}

// A line in at most four points a pixel column (first, lowest, highest, last): what a screen can show, spikes included.
function pathOf(points, toX, toY) {
  let path = "", pen = "M", column = [], at = null;
  const flush = () => {
    const outer = (further) => column.reduce((one, other) => (further(other.y, one.y) ? other : one), column[0]);
    const kept = new Set([column[0], outer((a, b) => a < b), outer((a, b) => a > b), column.at(-1)]);
    for (const point of column) {
      if (!kept.has(point)) continue;
      path += `${pen}${toX(point.x).toFixed(1)} ${toY(point.y).toFixed(1)}`;
      pen = "L";
    }
    column = [];
  };
  for (const point of points) {
    const pixel = Math.round(toX(point.x));
    if (!known(point.y) || pixel !== at) flush();
    if (known(point.y)) column.push(point);
    else pen = "M";
    at = pixel;
  }
  flush();
  return path;
}

function bandPath(points, toX, toY) {
  const both = points.filter(({ low, high }) => known(low) && known(high));
  const edge = (side) => both.map((point) => `${toX(point.x).toFixed(1)} ${toY(point[side]).toFixed(1)}`);
  return both.length > 1 ? `M${[...edge("high"), ...edge("low").reverse()].join("L")}Z` : "";
}

function drawLine(svg, line, { window, toX, toY }) {
  const points = within(line.points, window), path = line.style === "points" ? "" : pathOf(points, toX, toY);
  if (path) node("path", { stroke: colour(line.colour), class: `line ${line.style}`, d: path }, svg);
  points.forEach(({ x, y }, i) => {  // a value without neighbours would be an invisible line
    const alone = line.style === "points" || !(known(points[i - 1]?.y) || known(points[i + 1]?.y));
    if (known(y) && alone) node("circle", { cx: toX(x), cy: toY(y), r: 3, fill: colour(line.colour) }, svg);
  });
}

function drawLines(drawn, lines) {
  for (const line of lines.filter(({ low, high }) => low || high)) {
    const d = bandPath(within(line.points, drawn.window), drawn.toX, drawn.toY);
    if (d) node("path", { d, fill: colour(line.colour), "fill-opacity": 0.13 }, drawn.svg);
  }
  lines.forEach((line) => drawLine(drawn.svg, line, drawn));
}

function drawStack({ svg, window, toX, toY }, lines) {
  const sums = new Map();
  for (const line of lines) {
    const look = { fill: colour(line.colour), "fill-opacity": 0.78 }, points = within(line.points, window).map(({ x, y }) => {
      const low = sums.get(x) || 0, high = low + (y || 0);
      sums.set(x, high);
      return { x, low, high };
    });
    const d = bandPath(points, toX, toY);
    if (d) node("path", { ...look, d, stroke: "var(--paper)", "stroke-width": 0.6 }, svg);
    else for (const { x, low, high } of points) node("rect", { ...look, x: toX(x) - 12, width: 24, y: toY(high), height: toY(low) - toY(high) }, svg);
  }
}

// Roles and picked subnets in colour, the others grey; names at the right end, pushed apart.
function drawRanks(drawn, lines) {
  const { svg, chart, box, width, height, window, toY } = drawn, own = (line) => archColour(chart, line.arch);
  for (const line of [...lines].sort((a, b) => Boolean(own(a)) - Boolean(own(b)))) {
    const look = { colour: own(line) || "muted", style: own(line) ? "line" : "thin" };
    drawLine(node("g", { opacity: own(line) ? null : 0.38 }, svg), { ...line, ...look }, drawn);
  }
  const ends = lines.map((line) => {
    const last = within(line.points, window).findLast(({ y }) => known(y));
    return { line, y: last ? toY(last.y) : box.bottom + 7 };
  }).sort((a, b) => a.y - b.y || a.line.arch - b.line.arch);
  ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 13); });
  svg.setAttribute("viewBox", `0 0 ${width} ${Math.max(height, ...ends.map(({ y }) => y + 8))}`);
  for (const { line, y } of ends) {
    const style = own(line) ? `fill:${colour(own(line))}` : null, look = { style, class: `arch-label ${style ? "on" : ""}` };
    node("text", { ...look, x: box.right + 8, y: y + 4, click: () => pick(line.arch) }, svg, line.name);
  }
}

function draw(chart) {
  const host = document.querySelector(`[data-chart="${CSS.escape(chart.id)}"]`);
  if (!host || (!host.clientWidth && !printing)) return;
  const focused = host.contains(document.activeElement) && document.activeElement.dataset.key;
  const marks = data.marks.filter((mark) => mark.charts.includes(chart.id));
  host.replaceChildren();
  if (chart.kind === "multiples") drawMultiples(host, chart, marks);
  else {
    if (chart.kind === "ranks") roleLegend(host, chart);
    else if (chart.series.length > 1 || chart.series.some((line) => line.band)) legend(host, chart, chart.series);
    plot(host, chart, chart.kind === "ranks" ? chart.series : shownOf(chart, chart.series), marks);
  }
  if (focused) host.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function drawMultiples(host, chart, found) {
  const all = chart.panels.flatMap((panel) => panel.series), names = new Set(all.map((line) => line.name));
  const perArch = chart.panels.some((panel) => known(panel.arch)), lines = shownOf(chart, all);
  if (!perArch && names.size > 1 && (data.runs.length > 1 || names.size < 9)) legend(host, chart, all);
  const range = chart.panels.length > 3 || perArch ? bounds(chart, lines, windowOf(lines)) : null;
  const words = range ? `${axisWords(chart, range)}; the same axes in all` : `${axisWords(chart, [0, 0])}; an axis for each`;
  node("p", { class: "note" }, host, `${words}; x axis: ${chart.x_label}`);
  const grid = node("div", { class: perArch || chart.panels.length > 4 ? "minis" : "minis roomy" }, host);
  const marks = found.filter((mark) => mark.epochs.length <= 3 && chart.x_label === "epoch");
  chart.panels.forEach((panel, place) => {
    const cell = node("div", { class: "mini" }, grid), own = archColour(chart, panel.arch), { arch } = panel;
    if (known(arch)) {
      const look = { type: "button", "aria-pressed": picked.has(arch), "data-key": `arch ${arch}` };
      const button = node("button", { ...look, click: () => pick(arch) }, cell, panel.title);
      const role = ["best", "worst", "baseline"].filter((name) => rolesOf(chart)[name] === arch).join(", ");
      if (role) node("span", { class: "tag", style: `color:${colour(own)}` }, button, role);
    } else node("h4", {}, cell, panel.title);
    const series = panel.series.map((line) => (known(line.arch) ? { ...line, colour: own || "ink", style: own ? "line" : "thin" } : line));
    const one = { ...chart, kind: "lines", title: `${chart.title}: ${panel.title}`, series };
    plot(node("div", {}, cell), one, shownOf(chart, series), marks, { mini: true, range, tab: place ? -1 : 0, grid });
  });
}

function swatch(line, kind) {
  const svg = node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }), fill = colour(line.colour);
  if (kind === "stack") node("rect", { x: 6, y: 1, width: 12, height: 10, rx: 2, fill }, svg);
  else if (line.style === "points") node("circle", { cx: 13, cy: 6, r: 3, fill }, svg);
  else {
    if (line.band) node("rect", { width: 26, height: 12, fill, "fill-opacity": 0.18 }, svg);
    node("path", { d: "M1 6H25", stroke: fill, class: `line ${line.style}` }, svg);
  }
  return svg;
}

function legend(host, chart, lines) {
  const bar = node("div", { class: "legend", role: "group", "aria-label": `Lines of ${chart.title}` }, host);
  for (const line of lines.filter(({ name }, i) => lines.findIndex((other) => other.name === name) === i)) {
    const key = keyOf(chart, line), look = { type: "button", "aria-pressed": !hidden.has(key), "data-key": line.name };
    const click = () => { if (!hidden.delete(key)) hidden.add(key); draw(chart); };
    node("button", { ...look, click }, bar).append(swatch(line, chart.kind), line.name + (line.band ? ` (band: ${line.band})` : ""));
  }
}

function roleLegend(host, chart) {
  const roles = rolesOf(chart), bar = node("div", { class: "legend" }, host);
  for (const [name, words] of [["best", "best at the last evaluation"], ["baseline", "baseline"], ["worst", "worst"]]) {
    if (known(roles[name])) node("span", { class: "note role" }, bar).append(swatch({ colour: archColour(chart, roles[name]) }), `${words}: ${roles[name]}`);
  }
  node("span", { class: "note role" }, bar, "Choose a name to colour another subnet.");
}

// ---- reading values: pointer and keys ----

function hover({ svg, box, toX, toY, window, lines, grid }, chart) {
  const places = [...new Set(lines.flatMap((line) => within(line.points, window).map(({ x }) => x)))].sort((a, b) => a - b);
  const ranks = chart.kind === "ranks", last = places.length - 1;
  let at = last, row = 0, layer = null;
  svg.setAttribute("aria-label", summary(chart, lines, places));
  if (last < 0) return;

  // The lines that have a value at this place; of ranks in their order.
  function rowsAt(x) {
    const rows = lines.map((line) => ({ line, ...line.points.findLast((point) => point.x === x) })).filter(({ y }) => known(y));
    return ranks ? rows.sort((a, b) => a.y - b.y) : rows;
  }

  function show(clientX, clientY, spoken) {
    layer?.remove();
    layer = node("g", { "pointer-events": "none" }, svg);
    const x = places[at], all = rowsAt(x);
    row = clamp(row, 0, all.length - 1);
    const rows = ranks ? all.slice(row, row + 1) : chart.kind === "stack" ? all.reverse() : all;
    node("line", { x1: toX(x), x2: toX(x), y1: box.top, y2: box.bottom, class: "cross" }, layer);
    tip.replaceChildren();
    node("b", {}, tip, `${chart.x_label} ${x}`);
    const item = (style, ...texts) => {
      const line = node("div", {}, tip);
      node("i", { style }, line);
      texts.forEach((text) => node("span", {}, line, text));
    };
    for (const { line, y, low, high } of rows) {
      const fill = colour(ranks ? archColour(chart, line.arch) || "muted" : line.colour);
      if (chart.kind !== "stack") node("circle", { cx: toX(x), cy: toY(y), r: ranks ? 5 : 3.5, fill, stroke: "var(--paper)" }, layer);
      item(`background:${fill}`, line.name, valueText(y, chart) + unit(chart));
      if (line.low && line.high && known(low) && known(high)) item("", line.band, `${valueText(low, chart)} to ${valueText(high, chart)}`);
    }
    if (!rows.length) node("div", {}, tip, "no value here");
    showTip(clientX, clientY);
    if (spoken) say.textContent = tip.textContent;
  }

  const nearest = (all, away) => all.reduce((best, one, i) => (away(one) < away(all[best]) ? i : best), 0);
  const scale = () => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const leave = () => { tip.hidden = true; layer?.remove(); layer = null; };

  svg.addEventListener("pointermove", (event) => {
    const edge = svg.getBoundingClientRect(), x = (event.clientX - edge.left) / scale(), y = (event.clientY - edge.top) / scale();
    at = nearest(places, (place) => Math.abs(toX(place) - x));
    if (ranks) row = nearest(rowsAt(places[at]), (one) => Math.abs(toY(one.y) - y));
    show(event.clientX, event.clientY, false);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const upDown = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") { leave(); return; }
    if (grid && upDown) {
      const all = [...grid.querySelectorAll("svg[tabindex]")], next = all[all.indexOf(svg) + upDown];
      if (next) { svg.setAttribute("tabindex", -1); next.setAttribute("tabindex", 0); next.focus(); }
    } else if (ranks && upDown) row += upDown;
    else if (event.key in MOVES) at = clamp(layer ? at + MOVES[event.key] : at, 0, last);
    else return;
    event.preventDefault();
    if (document.activeElement !== svg) return;
    const edge = svg.getBoundingClientRect();
    show(edge.left + toX(places[at]) * scale(), edge.top + edge.height / 2, true);
  });
}

function summary(chart, lines, places) {
  const ends = lines.slice(0, 6).map((line) => `${line.name} ${valueText(line.y.findLast(known), chart)}${unit(chart)}`);
  const from = places.length ? `${chart.x_label} ${places[0]} to ${places.at(-1)}` : "no values";
  return `${chart.title}, ${chart.y_label}, ${from}. Last: ${ends.join("; ")}${lines.length > 6 ? "; and more" : ""}. Left and right arrow keys read the values.`;
}

// ---- tools ----

const drawAll = () => charts.forEach(draw), runChoice = get("run");

function showRun(number) {
  run = number;
  document.querySelectorAll("figure[data-run]").forEach((figure) => { figure.hidden = Number(figure.dataset.run) !== run; });
  runChoice.value = run;
  charts.forEach((chart) => { if (chart.run === run) draw(chart); });
}

function follow() {
  const target = location.hash.length > 1 && get(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const figure = target.closest("[data-run]");
  if (figure && runChoice && Number(figure.dataset.run) !== run) showRun(Number(figure.dataset.run));
  for (let above = target; above; above = above.parentElement) if (above.tagName === "DETAILS") above.open = true;
  target.scrollIntoView({ block: "start" });
  if (target.classList.contains("finding")) target.focus({ preventScroll: true });
}

document.querySelectorAll(".live").forEach((tool) => { tool.hidden = false; });
get("part")?.addEventListener("change", (event) => { part = Number(event.target.value); drawAll(); });
runChoice?.addEventListener("change", () => showRun(Number(runChoice.value)));
if (runChoice) showRun(0);
drawAll();
follow();
addEventListener("hashchange", follow);
let screenWidth = innerWidth, waiting = 0;
addEventListener("resize", () => {
  if (innerWidth === screenWidth) return;
  screenWidth = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 120);
});
for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) addEventListener(event, () => { printing = paper; drawAll(); });
document.documentElement.dataset.ready = "yes";
