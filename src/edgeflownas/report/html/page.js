"use strict";
// The page: which charts there are, what is switched on, hover and keys.  Everything works on data in the page itself.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip"), say = document.getElementById("say");
  const charts = new Map(data.charts.map((chart) => [chart.id, { series: [], panels: [], ...chart }]));
  const hidden = new Set(), picked = new Set();
  let part = 1, run = 0, printing = false;

  const page = {
    axes: data.axes,
    // Paper: 7.3 inches at 96 dots, whole or half; what the screen's layout says does not count there.
    widthOf: (host, mini) => (printing ? (mini ? 160 : host.closest(".wide, .ranks") ? 690 : 335) : host.clientWidth || 640),
    isHidden: (chart, line) => hidden.has(`${chart.id}\n${line.name}`),
    archColour(chart, arch) {
      if (arch === undefined) return null;
      const roles = data.roles[chart.run || 0] || {};
      if (arch === roles.best) return "c0";
      if (arch === roles.worst) return "c1";
      if (arch === roles.baseline) return "c2";
      const extra = ["c3", "c4", "c7", "c5"];
      return picked.has(arch) ? extra[[...picked].indexOf(arch) % extra.length] : null;
    },
    role(chart, arch) {
      const roles = data.roles[chart.run || 0] || {};
      return ["best", "worst", "baseline"].filter((name) => roles[name] === arch).join(", ");
    },
    pick(arch) {
      if (!picked.delete(arch)) picked.add(arch);
      charts.forEach((chart) => { if (chart.kind === "ranks" || (chart.kind === "multiples" && chart.panels.some((p) => known(p.arch)))) draw(chart); });
    },
    window(lines) {
      let low = Infinity, high = -Infinity;
      for (const line of lines) for (const x of data.axes[line.x]) if (known(x)) { low = Math.min(low, x); high = Math.max(high, x); }
      if (low > high) return [0, 1];
      return [high - (high - low) * part, high];
    },
  };

  const hostOf = (chart) => document.querySelector(`[data-chart="${CSS.escape(chart.id)}"]`);

  function draw(chart) {
    const host = hostOf(chart);
    if (!host || (!host.clientWidth && !printing)) return;
    const focused = document.activeElement && host.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    host.replaceChildren();
    const marks = data.marks.filter((mark) => mark.charts.includes(chart.id));
    if (chart.kind === "multiples") drawMultiples(host, chart);
    else if (chart.kind === "ranks") {
      roleLegend(host, chart);
      hover(drawRanks(host, chart, page, marks), chart, host, true);
    } else {
      if (chart.series.length > 1 || chart.series.some((line) => line.band)) legend(host, chart, chart.series);
      hover(drawLines(host, { ...chart, tall: host.clientWidth > 700 }, page, { marks }), chart, host);
    }
    if (focused) { const again = host.querySelector(`[data-key="${CSS.escape(focused)}"]`); if (again) again.focus(); }
  }

  function swatch(line, kind) {
    const svg = node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" });
    if (kind === "stack") node("rect", { x: 6, y: 1, width: 12, height: 10, rx: 2, fill: colour(line.colour) }, svg);
    else if (line.style === "points") node("circle", { cx: 13, cy: 6, r: 3, fill: colour(line.colour) }, svg);
    else {
      if (line.band) node("rect", { x: 0, y: 0, width: 26, height: 12, fill: colour(line.colour), "fill-opacity": 0.18 }, svg);
      const dash = { dashed: "6 4", dotted: "1.5 4" }[line.style];
      node("line", { x1: 1, x2: 25, y1: 6, y2: 6, stroke: colour(line.colour), "stroke-width": line.style === "thin" ? 1.2 : 2.2, "stroke-dasharray": dash, "stroke-linecap": "round" }, svg);
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
        const key = `${chart.id}\n${line.name}`;
        if (!hidden.delete(key)) hidden.add(key);
        draw(chart);
      });
    }
  }

  function roleLegend(host, chart) {
    const roles = data.roles[chart.run || 0] || {}, bar = node("div", { class: "legend" }, host);
    const words = { best: "best at the last evaluation", worst: "worst", baseline: "baseline" };
    for (const [name, key] of [["best", "c0"], ["baseline", "c2"], ["worst", "c1"]]) {
      if (!known(roles[name])) continue;
      const button = node("span", { class: "note", style: "display:inline-flex;gap:.4rem;align-items:center;margin:0 .5rem 0 0" }, bar);
      const same = page.archColour(chart, roles[name]);
      button.append(swatch({ colour: same || key }), `${words[name]}: ${roles[name]}`);
    }
    node("span", { class: "note", style: "margin:0" }, bar, "Choose a name to colour another subnet.");
  }

  function drawMultiples(host, chart) {
    const names = new Set(chart.panels.flatMap((panel) => panel.series.map((line) => line.name)));
    const perArch = chart.panels.some((panel) => known(panel.arch));
    if (!perArch && names.size > 1 && (data.runs.length > 1 || names.size < 9)) legendOfPanels(host, chart);
    const lines = chart.panels.flatMap((panel) => panel.series).filter((line) => !page.isHidden(chart, line));
    const window = page.window(lines), range = chart.panels.length > 3 || perArch ? bounds(chart, lines, page.axes, window) : null;
    const words = range ? `${axisWords(chart, range)}; the same axes in all` : `${chart.y_label}${chart.scale === "log" ? ", logarithmic" : ""}; an axis for each`;
    node("p", { class: "note", style: "margin:.1rem 0 .4rem" }, host, `${words}; x axis: ${chart.x_label || "epoch"}`);
    const grid = node("div", { class: perArch || chart.panels.length > 4 ? "minis" : "minis roomy" }, host);
    chart.panels.forEach((panel, place) => {
      const cell = node("div", { class: "mini" }, grid);
      let series = panel.series;
      if (known(panel.arch)) {
        const own = page.archColour(chart, panel.arch), role = page.role(chart, panel.arch);
        const button = node("button", { type: "button", "aria-pressed": String(picked.has(panel.arch)), "data-key": `arch ${panel.arch}` }, cell, panel.title);
        if (role) node("span", { class: "tag", style: `color:${colour(own)}` }, button, role);
        button.addEventListener("click", () => page.pick(panel.arch));
        series = series.map((line) => (known(line.arch) ? { ...line, colour: own || "ink", style: own ? "line" : "thin" } : line));
      } else node("h4", {}, cell, panel.title);
      const plot = node("div", {}, cell);
      const one = { ...chart, id: chart.id, kind: "lines", title: `${chart.title}: ${panel.title}`, series };
      const marks = data.marks.filter((mark) => mark.charts.includes(chart.id) && mark.epochs.length <= 3 && !chart.x_label);
      hover(drawLines(plot, one, page, { mini: true, range, marks, tab: place ? -1 : 0 }), one, plot, false, grid);
    });
  }

  function legendOfPanels(host, chart) {
    legend(host, chart, chart.panels.flatMap((panel) => panel.series));
  }

  // ---- reading values: pointer and keys ----

  function hover(drawn, chart, host, ranks, grid) {
    const { svg, box, toX, toY, window, lines } = drawn;
    const places = [...new Set(lines.flatMap((line) => data.axes[line.x].filter((x) => known(x) && x >= window[0] && x <= window[1])))].sort((a, b) => a - b);
    const last = places.length - 1;
    let at = last, row = 0, layer = null;
    svg.setAttribute("aria-label", summary(chart, lines, places));
    if (last < 0) return;
    const values = lines.map((line) => new Map(data.axes[line.x].map((x, i) => [x, i])));

    function show(clientX, clientY, spoken) {
      if (layer) layer.remove();
      layer = node("g", { "pointer-events": "none" }, svg);
      const x = places[at];
      node("line", { x1: toX(x), x2: toX(x), y1: box.top, y2: box.bottom, class: "cross" }, layer);
      const rows = [];
      lines.forEach((line, i) => {
        const index = values[i].get(x);
        if (index === undefined || !known(line.y[index])) return;
        rows.push({ line, value: line.y[index], band: line.low && line.high && known(line.low[index]) && known(line.high[index]) ? [line.low[index], line.high[index]] : null });
      });
      const shown = ranks ? nearest(rows) : rows;
      if (chart.kind !== "stack") for (const { line, value } of shown) node("circle", { cx: toX(x), cy: toY(value), r: ranks ? 5 : 3.5, fill: colour((ranks && page.archColour(chart, line.arch)) || line.colour || (ranks ? "ink" : "c0")), stroke: "var(--paper)" }, layer);
      svg.querySelectorAll(".rank-line").forEach((g) => g.classList.remove("near"));
      fill(x, shown, clientX, clientY);
      if (spoken) say.textContent = tip.textContent;
    }

    function nearest(rows) {
      const ordered = [...rows].sort((a, b) => a.value - b.value);
      row = Math.max(0, Math.min(row, ordered.length - 1));
      return ordered.slice(row, row + 1).map((item) => item.line.arch !== undefined ? item : item);
    }

    function fill(x, rows, clientX, clientY) {
      tip.replaceChildren();
      node("b", {}, tip, `${chart.x_label || "epoch"} ${x}`);
      const listed = chart.kind === "stack" ? [...rows].reverse() : rows;
      for (const { line, value, band } of listed) {
        const item = node("div", {}, tip);
        const own = ranks ? page.archColour(chart, line.arch) || "muted" : line.colour;
        node("i", { style: `background:${colour(own)}` }, item);
        node("span", {}, item, line.name);
        node("span", {}, item, valueText(value, chart) + unit(chart));
        if (band) {
          const extra = node("div", {}, tip);
          node("i", {}, extra);
          node("span", {}, extra, line.band);
          node("span", {}, extra, `${valueText(band[0], chart)} to ${valueText(band[1], chart)}`);
        }
      }
      if (!rows.length) node("div", {}, tip, "no value here");
      tip.hidden = false;
      const size = tip.getBoundingClientRect();
      const left = clientX + 14 + size.width > innerWidth ? clientX - size.width - 14 : clientX + 14;
      tip.style.left = `${Math.max(4, left)}px`;
      tip.style.top = `${Math.max(4, Math.min(clientY - size.height / 2, innerHeight - size.height - 4))}px`;
    }

    const scale = () => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const leave = () => { tip.hidden = true; if (layer) layer.remove(); layer = null; };

    svg.addEventListener("pointermove", (event) => {
      const frame_ = svg.getBoundingClientRect(), x = (event.clientX - frame_.left) / scale(), y = (event.clientY - frame_.top) / scale();
      at = places.reduce((best, place, i) => (Math.abs(toX(place) - x) < Math.abs(toX(places[best]) - x) ? i : best), 0);
      if (ranks) {
        const there = lines.map((line, i) => line.y[values[i].get(places[at])]).filter(known).sort((a, b) => a - b);
        row = there.reduce((best, rank, i) => (Math.abs(toY(rank) - y) < Math.abs(toY(there[best]) - y) ? i : best), 0);
      }
      show(event.clientX, event.clientY, false);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
      if (event.key === "Escape") return leave();
      if (grid && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        const all = [...grid.querySelectorAll("svg[tabindex]")], next = all[all.indexOf(svg) + (event.key === "ArrowDown" ? 1 : -1)];
        if (next) { svg.setAttribute("tabindex", -1); next.setAttribute("tabindex", 0); next.focus(); }
      } else if (ranks && (event.key === "ArrowUp" || event.key === "ArrowDown")) row += event.key === "ArrowDown" ? 1 : -1;
      else if (event.key in moves) at = Math.max(0, Math.min(last, layer ? at + moves[event.key] : at));
      else return undefined;
      event.preventDefault();
      if (document.activeElement !== svg) return undefined;
      const frame_ = svg.getBoundingClientRect();
      show(frame_.left + toX(places[at]) * scale(), frame_.top + frame_.height / 2, true);
      return undefined;
    });
  }

  const unit = (chart) => (/\(px\)|\(weighted px\)/.test(chart.y_label) ? " px" : "");

  function summary(chart, lines, places) {
    const ends = lines.slice(0, 6).map((line) => {
      const value = [...line.y].reverse().find(known);
      return `${line.name} ${valueText(value, chart)}${unit(chart)}`;
    });
    const from = places.length ? `${chart.x_label || "epoch"} ${places[0]} to ${places[places.length - 1]}` : "no values";
    return `${chart.title}, ${chart.y_label}, ${from}. Last: ${ends.join("; ")}${lines.length > 6 ? "; and more" : ""}. Left and right arrow keys read the values.`;
  }

  // ---- tools ----

  function choice(label, options, chosen) {
    const wrap = node("label", {}, document.getElementById("tools"), label);
    const select = node("select", {}, wrap);
    options.forEach(([value, text]) => node("option", { value }, select, text));
    select.addEventListener("change", () => chosen(select.value));
    return select;
  }

  function showRun(number) {
    run = number;
    document.querySelectorAll("figure[data-run]").forEach((figure) => { figure.hidden = Number(figure.dataset.run) !== run; });
    if (runChoice) runChoice.value = String(run);
    charts.forEach((chart) => { if (chart.run === run) draw(chart); });
  }

  function follow() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const figure = target.closest("[data-run]");
    if (figure && data.runs.length > 1 && Number(figure.dataset.run) !== run) showRun(Number(figure.dataset.run));
    for (let above = target; above; above = above.parentElement) if (above.tagName === "DETAILS") above.open = true;
    target.scrollIntoView({ block: "start" });
    if (target.classList.contains("finding")) target.focus({ preventScroll: true });
  }

  const drawAll = () => charts.forEach(draw);
  let runChoice = null;
  if (data.charts.length) {
    const parts = [["1", "all epochs"], ["0.5", "the last half"], ["0.25", "the last quarter"]];
    choice("Show", parts, (value) => { part = Number(value); drawAll(); });
  }
  if (data.runs.length > 1) runChoice = choice("Details of", data.runs.map((name, i) => [String(i), name]), (value) => showRun(Number(value)));
  choice("Colours", [["", "as the system"], ["light", "light"], ["dark", "dark"]], (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  });

  if (data.runs.length > 1) showRun(0);
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
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; drawAll(); });
  document.documentElement.dataset.ready = "yes";
})();
