"use strict";
// The picture: a canvas of points, axes below and marks above it as SVG; all three fill their host.

const STEPS = 24, REACH = 26;  // colours of a ramp; px within which the pointer finds a point
const OPTIONS = ["c0", "c1", "c2", "c3", "c4", "c7", "c5", "c6"];
const SHAPES = {
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  diamond: (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`,
  triangle: (x, y, r) => `M${x} ${y - r}l${r} ${1.8 * r}h${-2 * r}z`,
};
const MARKS = {  // shape, size (px) and look, in the picture and in its legend
  front: ["square", 2, { fill: "var(--ink)" }],
  line: ["circle", 3.4, { fill: "var(--ink)", stroke: "var(--paper)" }],
  tie: ["circle", 2.8, { fill: "none", stroke: "var(--ink)" }],
  shortlist: ["diamond", 7.5, { fill: "none", stroke: "var(--ink)", "stroke-width": 1.6 }],
  baseline: ["square", 6.5, { fill: "var(--paper)", stroke: "var(--ink)", "stroke-width": 2 }],
  knee: ["triangle", 6.5, { fill: "var(--paper)", stroke: "var(--ink)", "stroke-width": 2 }],
};

function drawMark(parent, name, places, size = MARKS[name][1], other = {}) {
  const [shape, , look] = MARKS[name];
  node("path", { ...look, ...other, d: places.map(([x, y]) => SHAPES[shape](x, y, size)).join("") }, parent);
}

// A path, dark on a pale rim.
function rimmed(parent, d, rim, line) {
  for (const [name, width] of [["paper", rim], ["ink", line]]) node("path", { d, fill: "none", stroke: colour(name), "stroke-width": width }, parent);
}

// Colours of page.css as a canvas takes them.
const probe = node("i", { hidden: "" }, document.body);
function resolved(name) {
  probe.style.color = colour(name);
  return getComputedStyle(probe).color;
}

function ramp() {
  const stops = ["r0", "r1", "r2", "r3", "r4"].map((name) => resolved(name).match(/\d+/g).map(Number));
  return Array.from({ length: STEPS }, (_, step) => {
    const at = (step / (STEPS - 1)) * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at));
    return `rgb(${stops[low].map((value, k) => Math.round(value + (stops[low + 1][k] - value) * (at - low))).join(" ")})`;
  });
}

function painter(state, host) {
  const [below, base, over] = host.children, px = new Float32Array(count), py = new Float32Array(count), bucket = new Uint8Array(count);
  // painted in an order of its own, so that no colour lies on top of all others
  const mixed = Uint32Array.from(px.keys()).sort((i, j) => (Math.imul(i, 2654435761) >>> 0) - (Math.imul(j, 2654435761) >>> 0));
  const at = (i) => [px[i], py[i]], placed = (i) => known(px[i]) && known(py[i]);  // not where a column has no value
  let box = null, toX = null, toY = null, clip = null, layer = null;

  function axes(width, height) {
    const [x, y] = [columns[state.x], columns[state.y]], { x0, x1, y0, y1 } = state.view;
    box = { left: width < 500 ? 50 : 66, top: 12, right: width - 12, bottom: height - 46 };
    toX = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
    toY = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
    const ticks = ({ scale }, low, high, room, to) => {
      const { values, digits: decimals } = linearTicks(low / scale, high / scale, room);
      return values.map((value) => [to(value * scale), grouped(value.toFixed(decimals))]);
    };
    below.replaceChildren();
    for (const svg of [below, over]) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const up = ticks(y, y0, y1, (box.bottom - box.top) / 55, toY), across = ticks(x, x0, x1, (box.right - box.left) / 85, toX);
    drawAxes(below, box, up, across, true);
    const title = { class: "axis-label", "text-anchor": "middle" };
    node("text", { ...title, x: (box.left + box.right) / 2, y: box.bottom + 36 }, below, axisLabel(x));
    node("text", { ...title, transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)` }, below, axisLabel(y));
  }

  // Colour of every point as a number below the count of those returned; the last of a ramp is for what has no value.
  function buckets() {
    const [kind, place] = state.colour.split(" ");
    if (kind === "block") {
      for (let i = 0; i < count; i += 1) bucket[i] = digits[i * wide + Number(place)];
      return blocks[place].options.map((_, option) => resolved(OPTIONS[option % OPTIONS.length]));
    }
    if (kind === "column") {
      const { values, low, high } = columns[place], span = (STEPS - 1e-6) / (high - low || 1);
      for (let i = 0; i < count; i += 1) bucket[i] = values[i] === values[i] ? Math.floor((values[i] - low) * span) : STEPS;
      return [...ramp(), resolved("muted")];
    }
    bucket.fill(0);
    return [resolved("c0")];
  }

  function points(width, height, ratio) {
    Object.assign(base, { width: Math.round(width * ratio), height: Math.round(height * ratio) });  // this clears it, too
    const pen = base.getContext("2d"), styles = buckets(), edge = resolved("edge"), { kept } = state;
    pen.scale(ratio, ratio);
    pen.beginPath();
    pen.rect(box.left, box.top - 6, box.right - box.left + 6, box.bottom - box.top + 6);
    pen.clip();
    const shown = mixed.filter((i) => px[i] >= box.left - 4 && px[i] <= box.right + 4 && py[i] >= box.top - 4 && py[i] <= box.bottom + 4);
    const many = shown.length, small = box.right - box.left < 500, size = many > 8000 ? (small ? 2 : 2.5) : many > 2000 ? 3 : many > 300 ? 4 : 6;
    let drawn = 0;
    const dots = (wanted, alpha, style) => {
      pen.globalAlpha = alpha;
      for (const i of shown) {
        if (kept[i] !== wanted) continue;
        pen.fillStyle = style(i);
        pen.fillRect(px[i] - size / 2, py[i] - size / 2, size, size);
        drawn += 1;
      }
    };
    if (state.others) dots(0, 0.55, () => edge);
    dots(1, state.colour ? 0.8 : many > 2000 ? (small ? 0.25 : 0.4) : 0.7, (i) => styles[bucket[i]]);
    return drawn;
  }

  function named(i, name) {
    const left = px[i] + 90 > box.right;
    drawMark(clip, name, [at(i)]);
    node("text", { class: "named", x: px[i] + (left ? -11 : 11), y: py[i] - 7, "text-anchor": left ? "end" : "start" }, clip, name);
  }

  function marks() {
    const { kept, line } = state, { given } = data, on = new Set(line), places = (members) => members.filter((i) => kept[i] && placed(i)).map(at);
    const size = { x: box.left, y: box.top - 6, width: box.right - box.left + 6, height: box.bottom - box.top + 6 };
    over.replaceChildren();
    clip = node("svg", { ...size, viewBox: Object.values(size).join(" ") }, over);  // one that is inside cuts off
    if (given.ties.length > 300) drawMark(clip, "tie", places(given.ties), 1.6, { opacity: 0.3 });  // they must not bury the cloud
    else drawMark(clip, "tie", places(given.ties));
    if (line.length) rimmed(clip, line.map((i, k) => (k ? `H${px[i]}V${py[i]}` : `M${px[i]} ${py[i]}`)).join(""), 3.5, 1.5);
    drawMark(clip, "front", places(given.front.filter((i) => !on.has(i))));
    drawMark(clip, "line", line.map(at));
    drawMark(clip, "shortlist", places(given.shortlist));
    if (placed(given.baseline)) named(given.baseline, "baseline");
    if (placed(given.knee) && kept[given.knee]) named(given.knee, "knee");
    layer = node("g", {}, clip);
  }

  function paint(width, height, ratio) {
    host.style.aspectRatio = `${width} / ${height}`;
    axes(width, height);
    const a = columns[state.x].values, b = columns[state.y].values;
    for (let i = 0; i < count; i += 1) { px[i] = toX(a[i]); py[i] = toY(b[i]); }
    const drawn = points(width, height, ratio);
    marks();
    return drawn;
  }

  // One standard error to either side, on each axis that has them.
  function bars(i) {
    const [x, y] = at(i), [across, up] = [columns[state.x], columns[state.y]], error = ({ errors }) => (errors && errors[i] > 0 ? errors[i] : 0);
    const [left, right] = [-1, 1].map((side) => toX(across.values[i] + side * error(across)));
    const [low, high] = [-1, 1].map((side) => toY(up.values[i] + side * error(up)));
    const flat = error(across) ? `M${left} ${y}H${right}M${left} ${y - 5}v10M${right} ${y - 5}v10` : "";
    return flat + (error(up) ? `M${x} ${low}V${high}M${x - 5} ${low}h10M${x - 5} ${high}h10` : "");
  }

  function follow(frame) {
    layer.replaceChildren();
    if (placed(state.pinned)) rimmed(layer, SHAPES.circle(...at(state.pinned), 9), 5, 2);
    if (state.near >= 0) {
      rimmed(layer, bars(state.near), 4, 1.5);
      rimmed(layer, SHAPES.circle(...at(state.near), 5.5), 5, 2);
    }
    if (frame) node("rect", { ...frame, fill: "var(--track)", "fill-opacity": 0.4, stroke: "var(--ink)" }, layer);
  }

  const holds = (x, y) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;

  // The kept point nearest to the pointer, -1 where none is near.
  function near(x, y) {
    let best = -1, least = REACH * REACH;
    for (let i = 0; i < count; i += 1) {
      const away = (px[i] - x) ** 2 + (py[i] - y) ** 2;
      if (away < least && state.kept[i] && holds(px[i], py[i])) { least = away; best = i; }
    }
    return best;
  }

  function value(x, y) {
    const { x0, x1, y0, y1 } = state.view;
    return [x0 + ((x - box.left) / (box.right - box.left)) * (x1 - x0), y1 - ((y - box.top) / (box.bottom - box.top)) * (y1 - y0)];
  }

  return { paint, follow, value, at, near, holds, box: () => box };
}
