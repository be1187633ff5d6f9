"use strict";
// The report: which charts there are, what is switched on, hover and keys.  Everything works on data in the page itself.

(() => {
  const charts = new Map(data.charts.map((chart) => [chart.id, { series: [], panels: [], kind: "lines", ...chart }]));
  const hidden = new Set(), picked = new Set(), tools = document.getElementById("tools");
  const rolesOf = (chart) => data.roles[chart.run || 0] || {};
  const keyOf = (chart, line) => `${chart.id}\n${line.name}`;
  const xLabel = (chart) => chart.x_label || "epoch";
  const unit = (chart) => (/\(px\)|\(weighted px\)/.test(chart.y_label) ? " px" : "");
  let part = 1, run = 0, printing = false;

  const page = {
    axes: data.axes,
    // Paper: 7.3 inches at 96 dots, whole or half; what the screen's layout says does not count there.
    widthOf: (host, mini) => (printing ? (mini ? 160 : host.closest(".wide, .ranks") ? 690 : 335) : host.clientWidth || 640),
    isHidden: (chart, line) => hidden.has(keyOf(chart, line)),
    archColour(chart, arch) {
      if (arch === undefined) return null;
      const roles = rolesOf(chart), extra = ["c3", "c4", "c7", "c5"];
      const own = { [roles.baseline]: "c2", [roles.worst]: "c1", [roles.best]: "c0" }[arch];
      return own || (picked.has(arch) ? extra[[...picked].indexOf(arch) % extra.length] : null);
    },
    pick(arch) {
      if (!picked.delete(arch)) picked.add(arch);
      charts.forEach((chart) => { if (chart.kind === "ranks" || chart.panels.some((panel) => known(panel.arch))) draw(chart); });
    },
    window(lines) {
      const places = lines.flatMap((line) => data.axes[line.x].filter(known));
      if (!places.length) return [0, 1];
      const [low, high] = places.reduce((ends, x) => [Math.min(ends[0], x), Math.max(ends[1], x)], [Infinity, -Infinity]);
      return [high - (high - low) * part, high];
    },
  };

  function draw(chart) {
    const host = document.querySelector(`[data-chart="${CSS.escape(chart.id)}"]`);
    if (!host || (!host.clientWidth && !printing)) return;
    const focused = host.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    host.replaceChildren();
    const marks = data.marks.filter((mark) => mark.charts.includes(chart.id));
    if (chart.kind === "multiples") drawMultiples(host, chart, marks);
    else if (chart.kind === "ranks") {
      roleLegend(host, chart);
      hover(drawRanks(host, chart, page, marks), chart, true);
    } else {
      if (chart.series.length > 1 || chart.series.some((line) => line.band)) legend(host, chart, chart.series);
      hover(drawLines(host, { ...chart, tall: host.clientWidth > 700 }, page, { marks }), chart);
    }
    const again = focused && host.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again) again.focus();
  }

  function swatch(line, kind) {
    const svg = node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }), fill = colour(line.colour);
    if (kind === "stack") node("rect", { x: 6, y: 1, width: 12, height: 10, rx: 2, fill }, svg);
    else if (line.style === "points") node("circle", { cx: 13, cy: 6, r: 3, fill }, svg);
    else {
      if (line.band) node("rect", { width: 26, height: 12, fill, "fill-opacity": 0.18 }, svg);
      node("path", { d: "M1 6H25", stroke: fill, class: `line ${line.style || "line"}` }, svg);
    }
    return svg;
  }

  function legend(host, chart, lines) {
    const bar = node("div", { class: "legend", role: "group", "aria-label": `Lines of ${chart.title}` }, host);
    const seen = new Set();
    for (const line of lines) {
      if (seen.has(line.name)) continue;
      seen.add(line.name);
      const button = node("button", { type: "button", "aria-pressed": String(!page.isHidden(chart, line)), "data-key": line.name }, bar);
      button.append(swatch(line, chart.kind), line.name + (line.band ? ` (band: ${line.band})` : ""));
      button.addEventListener("click", () => {
        if (!hidden.delete(keyOf(chart, line))) hidden.add(keyOf(chart, line));
        draw(chart);
      });
    }
  }

  function roleLegend(host, chart) {
    const roles = rolesOf(chart), bar = node("div", { class: "legend" }, host);
    for (const [name, words] of [["best", "best at the last evaluation"], ["baseline", "baseline"], ["worst", "worst"]]) {
      if (!known(roles[name])) continue;
      node("span", { class: "note role" }, bar).append(swatch({ colour: page.archColour(chart, roles[name]) }), `${words}: ${roles[name]}`);
    }
    node("span", { class: "note role" }, bar, "Choose a name to colour another subnet.");
  }

  function drawMultiples(host, chart, found) {
    const everything = chart.panels.flatMap((panel) => panel.series), names = new Set(everything.map((line) => line.name));
    const perArch = chart.panels.some((panel) => known(panel.arch));
    if (!perArch && names.size > 1 && (data.runs.length > 1 || names.size < 9)) legend(host, chart, everything);
    const lines = everything.filter((line) => !page.isHidden(chart, line));
    const range = chart.panels.length > 3 || perArch ? bounds(chart, lines, page.axes, page.window(lines)) : null;
    const words = range ? `${axisWords(chart, range)}; the same axes in all` : `${axisWords(chart, [0, 0])}; an axis for each`;
    node("p", { class: "note" }, host, `${words}; x axis: ${xLabel(chart)}`);
    const grid = node("div", { class: perArch || chart.panels.length > 4 ? "minis" : "minis roomy" }, host);
    const marks = found.filter((mark) => mark.epochs.length <= 3 && !chart.x_label);
    chart.panels.forEach((panel, place) => {
      const cell = node("div", { class: "mini" }, grid), own = page.archColour(chart, panel.arch);
      if (known(panel.arch)) {
        const button = node("button", { type: "button", "aria-pressed": String(picked.has(panel.arch)), "data-key": `arch ${panel.arch}` }, cell, panel.title);
        const role = ["best", "worst", "baseline"].filter((name) => rolesOf(chart)[name] === panel.arch).join(", ");
        if (role) node("span", { class: "tag", style: `color:${colour(own)}` }, button, role);
        button.addEventListener("click", () => page.pick(panel.arch));
      } else node("h4", {}, cell, panel.title);
      const series = panel.series.map((line) => (known(line.arch) ? { ...line, colour: own || "ink", style: own ? "line" : "thin" } : line));
      const one = { ...chart, kind: "lines", title: `${chart.title}: ${panel.title}`, series };
      hover(drawLines(node("div", {}, cell), one, page, { mini: true, range, marks, tab: place ? -1 : 0 }), one, false, grid);
    });
  }

  // ---- reading values: pointer and keys ----

  function hover({ svg, box, toX, toY, window, lines }, chart, ranks, grid) {
    const places = [...new Set(lines.flatMap((line) => inside(line, data.axes, window).map((i) => data.axes[line.x][i])))].sort((a, b) => a - b);
    const values = lines.map((line) => new Map(data.axes[line.x].map((x, i) => [x, i])));
    const last = places.length - 1;
    let at = last, row = 0, layer = null;
    svg.setAttribute("aria-label", summary(chart, lines, places));
    if (last < 0) return;

    // The lines that have a value at this place, with their colours; of ranks in their order.
    function rowsAt(x) {
      const rows = lines.flatMap((line, i) => {
        const index = values[i].get(x), own = ranks ? page.archColour(chart, line.arch) || "muted" : line.colour;
        if (index === undefined || !known(line.y[index])) return [];
        const band = line.low && line.high && known(line.low[index]) && known(line.high[index]) ? [line.low[index], line.high[index]] : null;
        return [{ line, value: line.y[index], band, fill: colour(own) }];
      });
      return ranks ? rows.sort((a, b) => a.value - b.value) : rows;
    }

    function show(clientX, clientY, spoken) {
      if (layer) layer.remove();
      layer = node("g", { "pointer-events": "none" }, svg);
      const x = places[at], all = rowsAt(x);
      row = Math.max(0, Math.min(row, all.length - 1));
      const rows = ranks ? all.slice(row, row + 1) : all;
      node("line", { x1: toX(x), x2: toX(x), y1: box.top, y2: box.bottom, class: "cross" }, layer);
      if (chart.kind !== "stack") for (const { value, fill } of rows) node("circle", { cx: toX(x), cy: toY(value), r: ranks ? 5 : 3.5, fill, stroke: "var(--paper)" }, layer);
      tip.replaceChildren();
      node("b", {}, tip, `${xLabel(chart)} ${x}`);
      const item = (style, ...texts) => {
        const line = node("div", {}, tip);
        node("i", { style }, line);
        texts.forEach((text) => node("span", {}, line, text));
      };
      for (const { line, value, band, fill } of chart.kind === "stack" ? [...rows].reverse() : rows) {
        item(`background:${fill}`, line.name, valueText(value, chart) + unit(chart));
        if (band) item("", line.band, band.map((edge) => valueText(edge, chart)).join(" to "));
      }
      if (!rows.length) node("div", {}, tip, "no value here");
      showTip(clientX, clientY);
      if (spoken) say.textContent = tip.textContent;
    }

    const nearest = (all, away) => all.reduce((best, one, i) => (away(one) < away(all[best]) ? i : best), 0);
    const scale = () => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const leave = () => { tip.hidden = true; if (layer) layer.remove(); layer = null; };

    svg.addEventListener("pointermove", (event) => {
      const edge = svg.getBoundingClientRect(), x = (event.clientX - edge.left) / scale(), y = (event.clientY - edge.top) / scale();
      at = nearest(places, (place) => Math.abs(toX(place) - x));
      if (ranks) row = nearest(rowsAt(places[at]), ({ value }) => Math.abs(toY(value) - y));
      show(event.clientX, event.clientY, false);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
      const upDown = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") { leave(); return; }
      if (grid && upDown) {
        const all = [...grid.querySelectorAll("svg[tabindex]")], next = all[all.indexOf(svg) + upDown];
        if (next) { svg.setAttribute("tabindex", -1); next.setAttribute("tabindex", 0); next.focus(); }
      } else if (ranks && upDown) row += upDown;
      else if (event.key in moves) at = Math.max(0, Math.min(last, layer ? at + moves[event.key] : at));
      else return;
      event.preventDefault();
      if (document.activeElement !== svg) return;
      const edge = svg.getBoundingClientRect();
      show(edge.left + toX(places[at]) * scale(), edge.top + edge.height / 2, true);
    });
  }

  function summary(chart, lines, places) {
    const ends = lines.slice(0, 6).map((line) => `${line.name} ${valueText([...line.y].reverse().find(known), chart)}${unit(chart)}`);
    const from = places.length ? `${xLabel(chart)} ${places[0]} to ${places[places.length - 1]}` : "no values";
    return `${chart.title}, ${chart.y_label}, ${from}. Last: ${ends.join("; ")}${lines.length > 6 ? "; and more" : ""}. Left and right arrow keys read the values.`;
  }

  // ---- tools ----

  let runChoice = null;
  const drawAll = () => charts.forEach(draw);

  function showRun(number) {
    run = number;
    document.querySelectorAll("figure[data-run]").forEach((figure) => { figure.hidden = Number(figure.dataset.run) !== run; });
    runChoice.value = String(run);
    charts.forEach((chart) => { if (chart.run === run) draw(chart); });
  }

  function follow() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const figure = target.closest("[data-run]");
    if (figure && runChoice && Number(figure.dataset.run) !== run) showRun(Number(figure.dataset.run));
    for (let above = target; above; above = above.parentElement) if (above.tagName === "DETAILS") above.open = true;
    target.scrollIntoView({ block: "start" });
    if (target.classList.contains("finding")) target.focus({ preventScroll: true });
  }

  if (charts.size) choice(tools, "Show", [["1", "all epochs"], ["0.5", "the last half"], ["0.25", "the last quarter"]], (value) => { part = Number(value); drawAll(); });
  if (data.runs.length > 1) runChoice = choice(tools, "Details of", data.runs.map((name, i) => [String(i), name]), (value) => showRun(Number(value)));
  themeChoice(() => {});
  if (runChoice) showRun(0);
  drawAll();
  follow();
  addEventListener("hashchange", follow);
  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; drawAll(); });
  document.documentElement.dataset.ready = "yes";
})();
