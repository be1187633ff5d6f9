"use strict";
// What both pages use: elements, the steps of an axis, the tools at the top, the hover box.

const SVG = "http://www.w3.org/2000/svg", DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "a", "title"]);
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip"), say = document.getElementById("say");
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const colour = (name) => `var(--${name || "c0"})`;

function node(name, attributes, parent, text) {
  const made = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function linearTicks(low, high, about) {
  const span = high - low, power = 10 ** Math.floor(Math.log10(span / about));
  const step = power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= about), values = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n += 1) values.push(n * step);
  return { values, digits: Math.max(0, Math.min(10, -Math.floor(Math.log10(step) + 1e-9))) };
}

function choice(parent, label, options, chosen, value = options[0][0]) {
  const select = node("select", {}, node("label", {}, parent, label));
  for (const [key, text] of options) node("option", { value: key }, select, text);
  select.value = value;
  select.addEventListener("change", () => chosen(select.value));
  return select;
}

function themeChoice(changed) {
  choice(document.getElementById("tools"), "Colours", [["", "as the system"], ["light", "light"], ["dark", "dark"]], (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    changed();
  });
}

// The hover box beside a place on the screen, or below it.
function showTip(x, y, below) {
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect(), left = x + 15 + width > innerWidth ? x - width - 15 : x + 15;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(below ? y + 18 : y - height / 2, innerHeight - height - 4))}px`;
}

addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
