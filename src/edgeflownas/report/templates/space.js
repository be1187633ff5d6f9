"use strict";
// The page: controls, pointer and keys, the words and the table that follow them.  Everything works on data in the page.

const grouped = (text) => {
  const [, sign, whole, rest] = String(text).match(/^([-\u2212]?)(\d+)(.*)$/) || [null, "", String(text), ""];
  return (sign ? "\u2212" : "") + whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + rest;
};
const worded = (column, value, whole) => {
  if (!known(value)) return "not measured";
  const unit = column.unit ? `\u00a0${column.unit}` : "";
  if (whole || column.scale === 1) return grouped(value.toFixed(column.digits)) + unit;
  return `${grouped((value / column.scale).toFixed(1))}\u00a0million${unit}`;
};
const axisLabel = ({ name, counted, minimise }) => `${name}${counted ? ` (${counted})` : ""}, ${minimise ? "lower" : "higher"} is better`;
const button = (text, click, parent, look = {}) => node("button", { type: "button", click, ...look }, parent, text);

const MOST = 400;  // rows of the table
const { given } = data, host = get("plot"), base = get("base"), over = get("over"), filters = get("filters"), members = get("members"), theme = get("theme");
const measured = columns.filter((column) => known(column.low)), objectives = data.objectives.filter((place) => known(columns[place].low));
const state = {
  x: [...objectives, ...measured.map(({ place }) => place)].find((place) => place !== objectives[0]) ?? objectives[0],
  y: objectives[0],
  colour: "", others: true, view: null, kept: new Uint8Array(count), remaining: 0, line: [], near: -1, pinned: -1,
};
const painted = painter(state, host);
let width = 0, drawn = 0, waiting = 0, listing = 0, room = 0, sorted = { place: objectives[0] + 2, down: false };

const roles = [["knee", [given.knee]], ["baseline", [given.baseline]], ["front", given.front], ["shortlist", given.shortlist], ["tie", given.ties]];
const rolesOf = (i) => roles.filter(([, own]) => own.includes(i)).map(([name]) => {
  if (name === "shortlist") return ["shortlist", given.shortlist_names[given.shortlist.indexOf(i)]].filter(Boolean).join(": ");
  return name === "front" && given.judged ? `front, ${given.sure.includes(i) ? "sure" : "in doubt"}` : name;
});

// ---- what fits, and what is drawn ----

function whole() {
  const [[x0, x1], [y0, y1]] = [columns[state.x], columns[state.y]].map(({ low, high }) => {
    const space = (high - low || Math.abs(high) || 1) * 0.04;
    return [low - space, high + space];
  });
  return { x0, x1, y0, y1 };
}

// Budgets and options, as their fields say.
function readFilters() {
  const where = get("where");
  state.inside = where && where.checked ? data.inside : null;
  state.allowed = blocks.map((_, place) => [...filters.querySelectorAll(`[data-block="${place}"]`)].map((box) => box.checked));
  state.limits = columns.map(() => null);
  for (const row of filters.querySelectorAll(".budget")) {
    const column = columns[row.dataset.column], [slider, field] = row.querySelectorAll("input");
    const limit = field.value === "" ? null : Number(field.value) * column.scale;
    state.limits[column.place] = limit;
    row.classList.toggle("on", limit !== null);
    slider.setAttribute("aria-valuetext", limit === null ? "no limit" : worded(column, limit));
  }
}

function refilter() {
  readFilters();
  state.remaining = markKept(state);
  state.line = state.x === state.y ? [] : frontOf(state.x, state.y, state.kept);
  if (!columns[state.x].minimise) state.line.reverse();
  if (state.near >= 0 && !state.kept[state.near]) leave();
  words();
  legend();
  clearTimeout(listing);
  listing = setTimeout(rows, 150);  // the table waits until a slider rests
  later();
}

function later() {
  if (!waiting) waiting = requestAnimationFrame(draw);
}

function draw(now) {
  if (waiting) cancelAnimationFrame(waiting);
  waiting = 0;
  const print = now === "print";
  width = print ? 690 : room;  // kept: asking the page for it would lay it out anew at every step of a slider
  if (!width) return;
  if (!state.view) state.view = whole();
  drawn = painted.paint(width, Math.round(clamp(width * 0.74, 330, 640)), print ? 3 : Math.min(3, devicePixelRatio || 1));
  painted.follow();
  base.setAttribute("aria-label", `Scatter of ${axisLabel(columns[state.y])} against ${axisLabel(columns[state.x])}. ${which()} Left and right arrow keys step along the line, Enter selects, plus and minus zoom, 0 shows all.`);
}

const limited = () => state.remaining < count;
const same = () => objectives.length === 2 && objectives.includes(state.x) && objectives.includes(state.y) && state.inside === data.inside
  && state.limits.every((limit) => limit === null) && state.allowed.every((options) => options.every(Boolean));

function which() {
  const n = grouped(state.line.length), names = objectives.map((place) => columns[place].name).join(", ");
  const among = limited() ? `the ${grouped(state.remaining)} subnets that fit` : `all ${grouped(count)} subnets`;
  if (same()) return `The line is the exact front of ${names}: ${n} of ${among}.`;
  if (state.x === state.y) return "One column on both axes: no front to draw.";
  return `The line is the exact front of ${columns[state.y].name} against ${columns[state.x].name} among ${among}, computed here: ${n}. Small squares: the front of ${names}${data.where ? ` where ${data.where}` : ""} as it was given, as far as it fits.`;
}

function words() {
  const part = (100 * state.remaining) / count, box = get("remain");
  box.replaceChildren();
  const head = node("p", { class: "count" }, box);
  node("b", {}, head, grouped(state.remaining));
  head.append(` of ${grouped(count)} subnets fit${limited() ? ` (${part < 1 && part > 0 ? part.toFixed(2) : part.toFixed(0)}\u00a0%)` : ""}`);
  for (const column of objectives.map((place) => columns[place])) {
    const best = bestOf(column, state.kept);
    if (best < 0) continue;
    codeButton(node("p", { class: "note" }, box, `${column.minimise ? "Lowest" : "Highest"} ${column.name} of these: ${worded(column, column.values[best])}, `), best);
  }
  if (!state.remaining) node("p", { class: "note" }, box, "Nothing fits: loosen a budget or allow an option again.");
  get("which").textContent = which();
}

const codeButton = (parent, i) => button(codeOf(i), () => pin(i, true), parent, { class: "code", title: "Select in the picture" });

// ---- one subnet: the tip and the selection ----

function describe(parent, i) {
  const role = rolesOf(i), code = codeOf(i).split(",");
  node("b", {}, parent, codeOf(i));
  if (role.length) node("span", { class: "roles" }, parent, role.join(" · "));
  node("p", { class: "options" }, parent, blocks.map(({ name, options }, b) => `${name} ${options[code[b]]}`.replaceAll(" ", "\u00a0")).join(" · "));
  for (const column of columns) {
    const line = node("div", {}, parent), error = column.errors ? column.errors[i] : NaN;
    const barred = error > 0 && known(column.values[i]), value = worded(column, column.values[i], true);
    node("span", {}, line, column.name + (barred ? " \u00b1 standard error, unpaired" : ""));
    node("span", {}, line, barred ? value.replace(/^\S+?(?=\u00a0|$)/, (number) => `${number} \u00b1 ${error.toFixed(column.digits)}`) : value);
  }
}

function show(i, spoken) {
  state.near = i;
  painted.follow();
  tip.replaceChildren();
  describe(tip, i);
  const frame = over.getBoundingClientRect(), [x, y] = painted.at(i);
  showTip(frame.left + x, frame.top + y, innerWidth < 500);  // on a phone there is no room beside the point
  if (spoken) say.textContent = [...rolesOf(i), codeOf(i), ...columns.map((column) => `${column.name} ${worded(column, column.values[i])}`)].join(", ");
}

function leave() {
  state.near = -1;
  tip.hidden = true;
  if (width) painted.follow();
}

function pin(i, far) {
  const box = get("picked");
  state.pinned = i;
  box.hidden = i < 0;
  box.replaceChildren();
  if (i >= 0) {
    describe(box, i);
    const bar = node("p", { class: "bar-of-buttons" }, box);
    button("Copy code", (event) => copy(codeOf(i), event.target), bar);
    button("Clear", () => { pin(-1); base.focus(); }, bar);
    if (!painted.holds(...painted.at(i))) all();
    if (far) host.scrollIntoView({ block: "nearest" });
  }
  if (width) painted.follow();
}

async function copy(text, pressed) {
  const before = pressed.textContent;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = node("textarea", { class: "hidden" }, document.body);
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  pressed.textContent = "Copied";
  say.textContent = `${text} copied`;
  setTimeout(() => { pressed.textContent = before; }, 1200);
}

// ---- pointer and keys ----

let start = null;
const local = (event) => { const frame = over.getBoundingClientRect(); return [event.clientX - frame.left, event.clientY - frame.top]; };
const dragged = (event) => { const [x, y] = local(event); return start && Math.hypot(x - start[0], y - start[1]) > 5; };

function look(view) {
  state.view = view;
  leave();
  later();
}
const all = () => look(null);

function zoom(factor, about) {
  const { x0, x1, y0, y1 } = state.view, [x, y] = about || [(x0 + x1) / 2, (y0 + y1) / 2], limit = whole();
  const share = (factor * (x1 - x0)) / (limit.x1 - limit.x0), near = (to, from) => to + (from - to) * factor;
  if (share > 1) look(limit);
  else if (share >= 1e-5) look({ x0: near(x, x0), x1: near(x, x1), y0: near(y, y0), y1: near(y, y1) });
}

function frameOf(event) {
  const box = painted.box(), inBox = ([x, y]) => [clamp(x, box.left, box.right), clamp(y, box.top, box.bottom)];
  const [[a, b], [c, d]] = [start, local(event)].map(inBox);
  return { x: Math.min(a, c), y: Math.min(b, d), width: Math.abs(a - c), height: Math.abs(b - d) };
}

function zoomTo({ x, y, width: across, height: tall }) {
  if (across <= 4 || tall <= 4) { painted.follow(); return; }
  const [x0, y1] = painted.value(x, y), [x1, y0] = painted.value(x + across, y + tall);
  look({ x0, x1, y0, y1 });
}

const POINTER = {
  pointerdown(event) {
    if (event.button) return;
    base.focus({ preventScroll: true });
    start = event.pointerType === "touch" ? null : local(event);
    if (start) over.setPointerCapture(event.pointerId);
  },
  pointermove(event) {
    if (waiting) return;
    if (dragged(event)) { tip.hidden = true; state.near = -1; painted.follow(frameOf(event)); return; }
    const i = painted.near(...local(event));
    over.style.cursor = i < 0 ? "crosshair" : "pointer";
    if (i < 0) leave();
    else if (i !== state.near || tip.hidden) show(i, false);
  },
  pointerup(event) {
    if (dragged(event)) zoomTo(frameOf(event));
    else pin(painted.near(...local(event)));
    start = null;
  },
  pointercancel() { start = null; leave(); },
  pointerleave() { if (!start) leave(); },
  dblclick: all,
};
for (const [name, handler] of Object.entries(POINTER)) over.addEventListener(name, handler);
over.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && document.activeElement !== base) return;  // the page scrolls until the picture is chosen
  event.preventDefault();
  zoom(1.0015 ** clamp(event.deltaY, -200, 200), painted.value(...local(event)));
}, { passive: false });

const closer = () => zoom(0.7), farther = () => zoom(1 / 0.7);
const KEYS = { "+": closer, "=": closer, "-": farther, 0: all, Escape: () => { leave(); pin(-1); }, Enter: () => pin(state.near) };
base.addEventListener("blur", leave);
base.addEventListener("keydown", (event) => {
  const { key } = event, last = state.line.length - 1, at = state.line.indexOf(state.near);
  if (key in KEYS && (key !== "Enter" || state.near >= 0)) KEYS[key]();
  else if (key in MOVES && last >= 0) {
    const first = ["ArrowLeft", "PageUp", "End"].includes(key) ? last : 0;
    show(state.line[at < 0 ? first : clamp(at + MOVES[key], 0, last)], true);
  } else return;
  event.preventDefault();
});

// ---- controls: those of the template ----

const chosen = (id, value, changed) => {
  get(id).value = value;
  get(id).addEventListener("change", () => { changed(get(id).value); leave(); refilter(); });
};
chosen("axis-x", state.x, (value) => { state.x = Number(value); state.view = null; });
chosen("axis-y", state.y, (value) => { state.y = Number(value); state.view = null; });
chosen("colour", "", (value) => { state.colour = value; });
chosen("others", "dim", (value) => { state.others = value === "dim"; });
for (const [id, action] of [["closer", closer], ["farther", farther], ["all", all]]) get(id).addEventListener("click", action);
theme.addEventListener("change", () => later());

// The slider and the number of a budget follow each other; the end of the slider is no limit.
filters.addEventListener("input", ({ target }) => {
  const row = target.closest(".budget");
  if (row) {
    const { low, high, scale, digits: own, minimise } = columns[row.dataset.column], [slider, field] = row.querySelectorAll("input");
    const decimals = scale > 1 ? 1 : own, free = minimise ? 1000 : 0, step = 10 ** -decimals * scale;
    if (target === slider) {
      // rounded towards more, so that the number shown is the limit that holds
      const steps = (low + ((high - low) * slider.value) / 1000) / step, round = minimise ? Math.ceil(steps - 1e-9) : Math.floor(steps + 1e-9);
      field.value = Number(slider.value) === free ? "" : ((round * step) / scale).toFixed(decimals);
    } else slider.value = field.value === "" ? free : (1000 * (Number(field.value) * scale - low)) / (high - low);
  }
  refilter();
});
filters.addEventListener("reset", () => setTimeout(refilter));  // once the fields are what they were
filters.addEventListener("submit", (event) => event.preventDefault());

function legend() {
  const box = get("legend"), [kind, place] = state.colour.split(" ");
  box.replaceChildren();
  const entry = (text, paint) => {
    const item = node("span", {}, box);
    paint(node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, item));
    item.append(text);
  };
  const patch = (text, name) => entry(text, (svg) => node("rect", { x: 8, y: 1, width: 10, height: 10, rx: 2, fill: colour(name) }, svg));
  const mark = (text, name, size) => entry(text, (svg) => drawMark(svg, name, [[13, 6]], size));
  if (kind === "block") blocks[place].options.forEach((option, k) => patch(`${blocks[place].name} ${option}`, OPTIONS[k % OPTIONS.length]));
  else if (kind === "column") {
    const column = columns[place], item = node("span", {}, box, worded(column, column.low));
    node("i", { class: "ramp" }, item);
    item.append(`${worded(column, column.high)} (${column.name})`);
  } else patch("a subnet", "c0");
  if (state.others && limited()) patch("does not fit", "edge");
  entry("front of these axes", (svg) => { rimmed(svg, "M1 3H9V9H23", 0, 1.5); drawMark(svg, "line", [[9, 6]]); });
  if (given.front.length && !same()) mark("front as given, where it differs", "front");
  if (given.ties.length) mark(`tied with the front within the noise (${grouped(given.ties.length)})`, "tie");
  if (given.shortlist.length) mark("shortlist", "shortlist", 5.5);
}

// ---- the table ----

const heads = [...members.querySelectorAll("thead th")], compared = (a, b) => (a < b ? -1 : Number(a > b));

function rows() {
  const onLine = new Set(state.line), key = sorted.place ? (i) => columns[sorted.place - 2].values[i] : codeOf;
  const wanted = [...new Set([...state.line, ...given.front, ...given.shortlist, given.knee, given.baseline])]
    .filter((i) => known(i) && (state.kept[i] || i === given.baseline))
    .sort((i, j) => Number.isNaN(key(i)) - Number.isNaN(key(j)) || (sorted.down ? compared(key(j), key(i)) : compared(key(i), key(j))) || i - j);
  members.querySelector("tbody").replaceChildren(...wanted.slice(0, MOST).map((i) => {
    const row = node("tr", {}), first = node("th", { scope: "row" }, row), role = rolesOf(i);
    codeButton(first, i);
    button("Copy", (event) => copy(codeOf(i), event.target), first, { class: "copy", "aria-label": `Copy ${codeOf(i)}` });
    if (onLine.has(i) && !given.front.includes(i)) role.unshift("front of these axes");
    node("td", {}, row, role.join(", "));
    for (const { values, digits: decimals } of columns) node("td", {}, row, known(values[i]) ? grouped(values[i].toFixed(decimals)) : "not measured");
    return row;
  }));
  const more = wanted.length > MOST ? ` The first ${MOST} of ${grouped(wanted.length)} are listed.` : "";
  members.querySelector("caption").textContent = `${grouped(wanted.length)} subnets: the line of the picture, the front as given and the shortlist, as far as they fit the budgets; the baseline always.${more}`;
  heads.forEach((head, place) => {
    if (place !== 1) head.setAttribute("aria-sort", sorted.place !== place ? "none" : sorted.down ? "descending" : "ascending");
  });
}

heads.forEach((head, place) => {
  if (place === 1) return;
  const text = head.textContent;
  head.replaceChildren(button(text, () => { sorted = { place, down: sorted.place === place && !sorted.down }; rows(); }));
});

// ---- start ----

get("explore").hidden = false;
room = host.clientWidth;
refilter();
rows();
draw();
new ResizeObserver(() => { if (host.clientWidth !== room) { room = host.clientWidth; leave(); later(); } }).observe(host);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
let usual = "";  // paper is light: the styles of paper are not in force yet when the picture is painted for it
addEventListener("beforeprint", () => { usual = theme.value; theme.value = "light"; draw("print"); });
addEventListener("afterprint", () => { theme.value = usual; draw(); });
// What is on the screen, for tests and for the console.
window.scatter = {
  now: () => { draw(); return { drawn, remaining: state.remaining, line: state.line, near: state.near, pinned: state.pinned, view: state.view }; },
  place: (i) => { draw(); const frame = over.getBoundingClientRect(), [x, y] = painted.at(i); return [frame.left + x, frame.top + y]; },
};
document.documentElement.dataset.ready = "yes";
