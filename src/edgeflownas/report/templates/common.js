"use strict";
// What every page uses: elements, ticks and axes of a chart, the hover box.

const SVG = "http://www.w3.org/2000/svg", DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "a", "title"]);
const MOVES = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
const get = (id) => document.getElementById(id);
const data = JSON.parse(get("data").textContent), tip = get("tip"), say = get("say");
const known = Number.isFinite;
const colour = (name) => `var(--${name})`;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const endsOf = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

// An element; an attribute that is a function listens to the event of its name, one without a value is left out.
function node(name, attributes, parent, text) {
  const made = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function linearTicks(low, high, about) {
  const span = high - low, power = 10 ** Math.floor(Math.log10(span / about));
  const step = power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= about), values = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n += 1) values.push(n * step);
  return { values, digits: clamp(-Math.floor(Math.log10(step) + 1e-9), 0, 10) };
}

// Base line, grid lines and texts of an empty chart; ticks are [place in px, text, anchor], `full`: with upright lines.
function drawAxes(svg, box, up, across, full) {
  for (const [y, text] of up) {
    node("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: "grid-line" }, svg);
    node("text", { x: box.left - 6, y: y + 4, "text-anchor": "end" }, svg, text);
  }
  for (const [x, text, anchor = "middle"] of across) {
    node("line", { x1: x, x2: x, y1: full ? box.top : box.bottom + 4, y2: box.bottom, class: full ? "grid-line" : "base" }, svg);
    node("text", { x, y: box.bottom + 15, "text-anchor": anchor }, svg, text);
  }
  node("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "base" }, svg);
}

// The hover box beside a place on the screen, or below it.
function showTip(x, y, below) {
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect(), left = x + 15 + width > innerWidth ? x - width - 15 : x + 15;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(below ? y + 18 : y - height / 2, innerHeight - height - 4))}px`;
}

addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
