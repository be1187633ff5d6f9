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
const unitOf = (column) => [column.scale > 1 ? "million" : "", column.unit].filter(Boolean).join(" ");
const axisLabel = (column) => `${column.name}${unitOf(column) ? ` (${unitOf(column)})` : ""}, ${column.minimise ? "lower" : "higher"} is better`;

(() => {
  const table = openTable(), { columns, blocks, count } = table, get = (id) => document.getElementById(id);
  const host = get("plot"), base = get("base"), over = get("over");
  const measured = columns.filter((column) => column.low <= column.high);
  const objectives = data.objectives.filter((place) => measured.includes(columns[place]));
  const second = [...objectives, ...measured.map((column) => column.place)].find((place) => place !== objectives[0]);
  const state = {
    x: second, y: objectives[0], colour: "", others: true, whereOn: data.inside !== null, inside: data.inside,
    limits: columns.map(() => null), allowed: blocks.map((block) => block.options.map(() => true)), view: null,
    kept: new Uint8Array(count), remaining: 0, line: [], given: data.given, near: -1, pinned: -1,
  };
  const roles = [["knee", [data.given.knee]], ["baseline", [data.given.baseline]], ["front", data.given.front], ["shortlist", data.given.shortlist], ["tie", data.given.ties]]
    .map(([name, members]) => [name, new Set(members)]);
  const sure = new Set(data.given.sure);
  const rolesOf = (i) => roles.filter(([, members]) => members.has(i)).map(([name]) => {
    if (name === "shortlist") return ["shortlist", data.given.shortlist_names[data.given.shortlist.indexOf(i)]].filter(Boolean).join(": ");
    return name === "front" && data.given.judged ? `front, ${sure.has(i) ? "sure" : "in doubt"}` : name;
  });
  const painted = painter(table, state, base, over);
  let width = 0, height = 0, ratio = 1, drawn = 0, waiting = 0, listing = 0, room = 0, sorted = { place: objectives[0], down: false };

  // ---- what fits, and what is drawn ----

  function whole() {
    const [x, y] = [columns[state.x], columns[state.y]];
    const room = ({ low, high }) => (high - low || Math.abs(high) || 1) * 0.04;
    return { x0: x.low - room(x), x1: x.high + room(x), y0: y.low - room(y), y1: y.high + room(y) };
  }

  function refilter() {
    state.remaining = markKept(table, state, state.kept);
    state.line = state.x === state.y ? [] : frontOf(table, columns[state.x], columns[state.y], state.kept);
    if (columns[state.x].minimise === false) state.line.reverse();
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
    height = Math.round(Math.max(330, Math.min(640, width * 0.74)));
    ratio = print ? 3 : Math.min(3, devicePixelRatio || 1);
    if (!state.view) state.view = whole();
    drawn = painted.paint(width, height, ratio);
    painted.follow(width, height, ratio);
    base.setAttribute("aria-label", summary());
  }

  const follow = (frame) => painted.follow(width, height, ratio, frame);
  const names = (places) => places.map((place) => columns[place].name).join(", ");
  const limited = () => state.remaining < count;
  const same = () => objectives.length === 2 && objectives.includes(state.x) && objectives.includes(state.y) && state.whereOn === (data.inside !== null)
    && state.limits.every((limit) => limit === null) && state.allowed.every((options) => options.every(Boolean));

  function which() {
    const pair = `${columns[state.y].name} against ${columns[state.x].name}`, n = grouped(state.line.length);
    const among = limited() ? `the ${grouped(state.remaining)} subnets that fit` : `all ${grouped(count)} subnets`;
    if (same()) return `The line is the exact front of ${names(objectives)}: ${n} of ${among}.`;
    if (state.x === state.y) return "One column on both axes: no front to draw.";
    return `The line is the exact front of ${pair} among ${among}, computed here: ${n}. Small squares: the front of ${names(objectives)}${data.where ? ` where ${data.where}` : ""} as it was given, as far as it fits.`;
  }

  const summary = () => `Scatter of ${axisLabel(columns[state.y])} against ${axisLabel(columns[state.x])}. ${which()} Left and right arrow keys step along the line, Enter selects, plus and minus zoom, 0 shows all.`;

  function words() {
    const part = (100 * state.remaining) / count, box = get("remain");
    box.replaceChildren();
    const head = node("p", { class: "count" }, box);
    node("b", {}, head, grouped(state.remaining));
    head.append(` of ${grouped(count)} subnets fit${limited() ? ` (${part < 1 && part > 0 ? part.toFixed(2) : part.toFixed(0)}\u00a0%)` : ""}`);
    for (const place of objectives) {
      const best = bestOf(table, columns[place], state.kept);
      if (best < 0) continue;
      const line = node("p", { class: "note" }, box, `${columns[place].minimise ? "Lowest" : "Highest"} ${columns[place].name} of these: ${worded(columns[place], columns[place].values[best])}, `);
      codeButton(line, best);
    }
    if (!state.remaining) node("p", { class: "note" }, box, "Nothing fits: loosen a budget or allow an option again.");
    get("which").textContent = which();
  }

  function codeButton(parent, i) {
    const button = node("button", { type: "button", class: "code", title: "Select in the picture" }, parent, table.code(i));
    button.addEventListener("click", () => pin(i, true));
  }

  // ---- one subnet: the tip and the selection ----

  function describe(parent, i) {
    const role = rolesOf(i);
    node("b", {}, parent, table.code(i));
    if (role.length) node("span", { class: "roles" }, parent, role.join(" · "));
    node("p", { class: "options" }, parent, blocks.map((block, b) => `${block.name}\u00a0${table.option(i, b).replaceAll(" ", "\u00a0")}`).join(" · "));
    for (const column of columns) {
      const line = node("div", {}, parent), error = column.errors ? column.errors[i] : NaN;
      const barred = error > 0 && known(column.values[i]), value = worded(column, column.values[i], true);
      node("span", {}, line, column.name + (barred ? " \u00b1 standard error, unpaired" : ""));
      node("span", {}, line, barred ? value.replace(/^\S+?(?=\u00a0|$)/, (number) => `${number} \u00b1 ${error.toFixed(column.digits)}`) : value);
    }
  }

  function show(i, spoken) {
    state.near = i;
    follow();
    tip.replaceChildren();
    describe(tip, i);
    const frame = over.getBoundingClientRect(), [x, y] = painted.at(i);
    showTip(frame.left + x, frame.top + y, innerWidth < 500);  // on a phone there is no room beside the point
    if (spoken) say.textContent = [...rolesOf(i), table.code(i), ...columns.map((column) => `${column.name} ${worded(column, column.values[i])}`)].join(", ");
  }

  function leave() {
    state.near = -1;
    tip.hidden = true;
    if (width) follow();
  }

  function pin(i, far) {
    state.pinned = i;
    const box = get("picked");
    box.hidden = i < 0;
    box.replaceChildren();
    if (i >= 0) {
      describe(box, i);
      const bar = node("p", { class: "bar-of-buttons" }, box), copied = node("button", { type: "button" }, bar, "Copy code");
      copied.addEventListener("click", () => copy(table.code(i), copied));
      node("button", { type: "button" }, bar, "Clear").addEventListener("click", () => { pin(-1); base.focus(); });
      const [x, y] = painted.at(i), limits = painted.box();
      if (!(x >= limits.left && x <= limits.right && y >= limits.top && y <= limits.bottom)) { state.view = null; later(); }
      if (far) host.scrollIntoView({ block: "nearest" });
    }
    if (width) follow();
  }

  async function copy(text, button) {
    const before = button.textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = node("textarea", { class: "hidden" }, document.body);
      area.value = text;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    say.textContent = `${text} copied`;
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  // ---- pointer and keys ----

  const local = (event) => { const frame = over.getBoundingClientRect(); return [event.clientX - frame.left, event.clientY - frame.top]; };
  let start = null;

  function zoom(factor, about) {
    const { x0, x1, y0, y1 } = state.view, [x, y] = about || [(x0 + x1) / 2, (y0 + y1) / 2], limit = whole();
    const next = { x0: x + (x0 - x) * factor, x1: x + (x1 - x) * factor, y0: y + (y0 - y) * factor, y1: y + (y1 - y) * factor };
    const share = (next.x1 - next.x0) / (limit.x1 - limit.x0);
    if (share < 1e-5) return;
    state.view = share > 1 ? limit : next;
    leave();
    later();
  }

  const frameOf = (event) => {
    const box = painted.box(), [x, y] = local(event), inX = (at) => Math.max(box.left, Math.min(box.right, at)), inY = (at) => Math.max(box.top, Math.min(box.bottom, at));
    const [a, b, c, d] = [inX(start[0]), inY(start[1]), inX(x), inY(y)];
    return [Math.min(a, c), Math.min(b, d), Math.abs(a - c), Math.abs(b - d)];
  };

  over.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    base.focus({ preventScroll: true });
    start = event.pointerType === "touch" ? null : local(event);
    if (start) over.setPointerCapture(event.pointerId);
  });
  over.addEventListener("pointermove", (event) => {
    if (waiting) return;
    const [x, y] = local(event);
    if (start && Math.hypot(x - start[0], y - start[1]) > 5) { tip.hidden = true; state.near = -1; follow(frameOf(event)); return; }
    const i = painted.near(x, y);
    over.style.cursor = i < 0 ? "crosshair" : "pointer";
    if (i < 0) leave();
    else if (i !== state.near || tip.hidden) show(i, false);
  });
  over.addEventListener("pointerup", (event) => {
    const [x, y] = local(event), dragged = start && Math.hypot(x - start[0], y - start[1]) > 5;
    if (dragged) {
      const [left, top, wide, tall] = frameOf(event);
      if (wide > 4 && tall > 4) {
        const [x0, y1] = painted.value(left, top), [x1, y0] = painted.value(left + wide, top + tall);
        state.view = { x0, x1, y0, y1 };
        later();
      } else follow();
    } else pin(painted.near(x, y));
    start = null;
  });
  over.addEventListener("pointercancel", () => { start = null; leave(); });
  over.addEventListener("pointerleave", () => { if (!start) leave(); });
  over.addEventListener("dblclick", all);
  over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== base) return;  // the page scrolls until the picture is chosen
    event.preventDefault();
    zoom(1.0015 ** Math.max(-200, Math.min(200, event.deltaY)), painted.value(...local(event)));
  }, { passive: false });

  function all() {
    state.view = null;
    leave();
    later();
  }

  base.addEventListener("blur", leave);
  base.addEventListener("keydown", (event) => {
    const { line } = state, moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }, at = line.indexOf(state.near);
    if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") all();
    else if (event.key === "Escape") { leave(); pin(-1); }
    else if (event.key === "Enter" && state.near >= 0) pin(state.near);
    else if (event.key in moves && line.length) show(line[at < 0 ? (moves[event.key] > 0 && event.key !== "End" ? 0 : line.length - 1) * (event.key === "Home" ? 0 : 1) : Math.max(0, Math.min(line.length - 1, at + moves[event.key]))], true);
    else return;
    event.preventDefault();
  });

  // ---- controls ----

  const axis = (name) => (value) => { state[name] = Number(value); state.view = null; leave(); refilter(); };
  const listed = measured.map((column) => [String(column.place), column.name]);
  choice(get("bar"), "Across", listed, axis("x"), String(state.x)).id = "axis-x";
  choice(get("bar"), "Up", listed, axis("y"), String(state.y)).id = "axis-y";
  choice(get("bar"), "Colour", [["", "one colour"], ...blocks.map((block, b) => [`block ${b}`, `by ${block.name}`]), ...measured.map((column) => [`column ${column.place}`, `by ${column.name}`])],
    (value) => { state.colour = value; legend(); later(); }).id = "colour";
  choice(get("bar"), "Not fitting", [["dim", "dimmed"], ["hide", "hidden"]], (value) => { state.others = value === "dim"; legend(); later(); });
  const zooms = node("span", { class: "zooms", role: "group", "aria-label": "Zoom" }, get("bar"));
  for (const [text, words_, action] of [["+", "Zoom in", () => zoom(0.7)], ["\u2212", "Zoom out", () => zoom(1 / 0.7)], ["Show all", null, all]]) {
    node("button", { type: "button", "aria-label": words_ }, zooms, text).addEventListener("click", action);
  }
  themeChoice(() => { legend(); later(); });

  const resets = [];
  function budget(column) {
    const row = node("div", { class: "budget" }, get("budgets")), { place, minimise, low, high, scale } = column;
    const words_ = `${column.name}, ${minimise ? "at most" : "at least"}`;
    const label = node("label", {}, row, words_), own = unitOf(column);
    const slider = node("input", { type: "range", min: 0, max: 1000, step: 1, value: minimise ? 1000 : 0, id: `limit-${place}` }, row);
    label.setAttribute("for", slider.id);
    const digits = scale > 1 ? 1 : column.digits;
    const field = node("input", { type: "number", step: "any", placeholder: "no limit", "aria-label": `${words_}${own ? ` (${own})` : ""}` }, row);
    node("span", { class: "unit" }, row, own);
    const set = (limit) => { state.limits[place] = limit; row.classList.toggle("on", limit !== null); };
    const spoken = () => slider.setAttribute("aria-valuetext", state.limits[place] === null ? "no limit" : worded(column, state.limits[place]));
    slider.addEventListener("input", () => {
      const free = Number(slider.value) === (minimise ? 1000 : 0);
      // rounded towards more, so that the number shown is the limit that holds
      const step = 10 ** -digits * scale, raw = low + ((high - low) * slider.value) / 1000;
      const shown = ((minimise ? Math.ceil(raw / step - 1e-9) : Math.floor(raw / step + 1e-9)) * step / scale).toFixed(digits);
      field.value = free ? "" : shown;
      set(free ? null : Number(shown) * scale);
      spoken();
      refilter();
    });
    field.addEventListener("input", () => {
      const limit = field.value === "" ? null : Number(field.value) * scale;
      set(limit);
      slider.value = limit === null ? (minimise ? 1000 : 0) : (1000 * (limit - low)) / (high - low || 1);
      spoken();
      refilter();
    });
    spoken();
    resets.push(() => { set(null); field.value = ""; slider.value = minimise ? 1000 : 0; spoken(); });
  }

  function blockFilter(block, place) {
    const row = node("fieldset", { class: "block" }, get("blocks")), first = block.options[0].split(" ")[0];
    const shared = block.options.every((option) => option.startsWith(`${first} `));  // "EB0 depth: 1 2 3"
    node("legend", {}, row, shared ? `${block.name} ${first}` : block.name);
    block.options.forEach((option, digit) => {
      const label = node("label", { class: "option" }, row), box = node("input", { type: "checkbox", "data-block": place, "data-option": digit }, label);
      box.checked = true;
      node("span", {}, label, shared ? option.slice(first.length + 1) : option);
      box.addEventListener("change", () => { state.allowed[place][digit] = box.checked; refilter(); });
      resets.push(() => { box.checked = true; state.allowed[place][digit] = true; });
    });
  }

  if (data.inside !== null) {
    const label = node("label", { class: "option where" }, get("budgets")), box = node("input", { type: "checkbox", id: "where" }, label);
    box.checked = true;
    node("span", {}, label, `only where ${data.where}`);
    box.addEventListener("change", () => { state.whereOn = box.checked; refilter(); });
    resets.push(() => { box.checked = true; state.whereOn = true; });
  }
  measured.filter((column) => column.low < column.high).forEach(budget);
  blocks.forEach(blockFilter);
  get("reset").addEventListener("click", () => { resets.forEach((reset) => reset()); refilter(); });

  // ---- legend ----

  const FORMS = {
    line: '<path d="M1 3H9V9H23" fill="none" stroke="var(--ink)" stroke-width="1.5"/><circle cx="9" cy="6" r="3.4" fill="var(--ink)"/>',
    front: '<rect x="11" y="4" width="4" height="4" fill="var(--ink)"/>',
    tie: '<circle cx="13" cy="6" r="3" fill="none" stroke="var(--ink)"/>',
    shortlist: '<path d="M13 0.5L18.5 6L13 11.5L7.5 6Z" fill="none" stroke="var(--ink)" stroke-width="1.6"/>',
  };

  function legend() {
    const box = get("legend");
    box.replaceChildren();
    const entry = (text, inner) => {
      const item = node("span", {}, box), picture = node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, item);
      picture.innerHTML = inner;  // of the constants above and palette colours only
      item.append(text);
    };
    const patch = (style) => `<rect x="8" y="1" width="10" height="10" rx="2" fill="${style}"/>`;
    const [kind, place] = state.colour.split(" "), { given } = data;
    if (kind === "block") blocks[place].options.forEach((option, k) => entry(`${blocks[place].name} ${option}`, patch(`var(--${OPTIONS[k % OPTIONS.length]})`)));
    else if (kind === "column") {
      const column = columns[place], { ramp } = palette();
      const item = node("span", {}, box, worded(column, column.low));
      node("i", { class: "ramp", style: `background: linear-gradient(to right, ${ramp.join(", ")})` }, item);
      item.append(`${worded(column, column.high)} (${column.name})`);
    } else entry("a subnet", patch("var(--c0)"));
    if (state.others && limited()) entry("does not fit", patch("var(--edge)"));
    entry("front of these axes", FORMS.line);
    if (given.front.length && !same()) entry("front as given, where it differs", FORMS.front);
    if (given.ties.length) entry(`tied with the front within the noise (${grouped(given.ties.length)})`, FORMS.tie);
    if (given.shortlist.length) entry("shortlist", FORMS.shortlist);
  }

  // ---- the table ----

  const MOST = 400;
  function rows() {
    const onLine = new Set(state.line), { given } = data;
    const wanted = [...new Set([...state.line, ...given.front, ...given.shortlist, given.knee, given.baseline])].filter((i) => i !== null && i !== undefined && (state.kept[i] || i === given.baseline));
    const key = sorted.place < 0 ? (i) => table.code(i) : (i) => columns[sorted.place].values[i];
    wanted.sort((i, j) => {
      const [a, b] = [key(i), key(j)];
      const less = typeof a === "string" ? (a < b ? -1 : 1) : (a !== a) - (b !== b) || (a === a && b === b ? (sorted.down ? b - a : a - b) : 0);
      return (typeof a === "string" && sorted.down ? -less : less) || i - j;
    });
    const body = get("members").querySelector("tbody");
    body.replaceChildren(...wanted.slice(0, MOST).map((i) => {
      const row = node("tr", {}, null), first = node("th", { scope: "row" }, row);
      codeButton(first, i);
      const copied = node("button", { type: "button", class: "copy", "aria-label": `Copy ${table.code(i)}` }, first, "Copy");
      copied.addEventListener("click", () => copy(table.code(i), copied));
      const role = rolesOf(i);
      if (onLine.has(i) && !data.given.front.includes(i)) role.unshift("front of these axes");
      node("td", {}, row, role.join(", "));
      for (const column of columns) node("td", {}, row, known(column.values[i]) ? grouped(column.values[i].toFixed(column.digits)) : "not measured");
      return row;
    }));
    const more = wanted.length > MOST ? ` The first ${MOST} of ${grouped(wanted.length)} are listed.` : "";
    get("members").querySelector("caption").textContent = `${grouped(wanted.length)} subnets: the line of the picture, the front as given and the shortlist, as far as they fit the budgets; the baseline always.${more}`;
  }

  get("members").querySelectorAll("thead th").forEach((head, place) => {
    if (place === 1) return;
    const own = place === 0 ? -1 : place - 2, button = node("button", { type: "button" }, null, head.textContent);
    head.replaceChildren(button);
    const mark = () => head.setAttribute("aria-sort", sorted.place === own ? (sorted.down ? "descending" : "ascending") : "none");
    button.addEventListener("click", () => {
      sorted = { place: own, down: sorted.place === own && !sorted.down };
      get("members").dispatchEvent(new Event("sorted"));
      rows();
    });
    get("members").addEventListener("sorted", mark);
    mark();
  });

  // ---- start ----

  get("explore").hidden = false;
  room = host.clientWidth;
  refilter();
  rows();
  draw();
  new ResizeObserver(() => { if (host.clientWidth !== room) { room = host.clientWidth; leave(); later(); } }).observe(host);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { legend(); later(); });
  let theme = null;  // paper is light: the styles of paper are not in force yet when the picture is painted for it
  addEventListener("beforeprint", () => { theme = document.documentElement.dataset.theme || ""; document.documentElement.dataset.theme = "light"; draw("print"); });
  addEventListener("afterprint", () => { if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme; draw(); });
  // What is on the screen, for tests and for the console.
  window.scatter = {
    now: () => { draw(); return { drawn, remaining: state.remaining, line: state.line, near: state.near, pinned: state.pinned, view: state.view }; },
    place: (i) => { draw(); const frame = over.getBoundingClientRect(), [x, y] = painted.at(i); return [frame.left + x, frame.top + y]; },
  };
  document.documentElement.dataset.ready = "yes";
})();
