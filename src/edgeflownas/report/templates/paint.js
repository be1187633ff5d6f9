"use strict";
// Two canvases: `base` holds axes, points and marks and is painted when something changes; `over` only what follows the pointer.

const RAMP = { light: ["#482475", "#3b528b", "#2a788e", "#22a884", "#8fd744"], dark: ["#5b62b8", "#2f8fa0", "#35b779", "#9bd93c", "#fde725"] };
const STEPS = 24, REACH = 26;  // colours of a ramp; px within which the pointer finds a point
const OPTIONS = ["c0", "c1", "c2", "c3", "c4", "c7", "c5", "c6"];

function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "faint", "edge", "paper", "track", ...OPTIONS];
  const found = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  const dark = parseInt(found.paper.slice(1, 3), 16) < 128;
  return { ...found, ramp: rampOf(RAMP[dark ? "dark" : "light"]) };
}

function rampOf(stops) {
  const rgb = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return Array.from({ length: STEPS }, (_, step) => {
    const at = (step / (STEPS - 1)) * (rgb.length - 1), low = Math.min(rgb.length - 2, Math.floor(at)), part = at - low;
    return `rgb(${rgb[low].map((value, k) => Math.round(value + (rgb[low + 1][k] - value) * part)).join(" ")})`;
  });
}

function sizeCanvas(canvas, width, height, ratio) {
  const [wide, tall] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== tall) { canvas.width = wide; canvas.height = tall; }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function painter(table, state, base, over) {
  const px = new Float32Array(table.count), py = new Float32Array(table.count), bucket = new Uint8Array(table.count);
  // painted in an order of its own, so that no colour lies on top of all others
  const mixed = Uint32Array.from(px.keys()).sort((i, j) => (Math.imul(i, 2654435761) >>> 0) - (Math.imul(j, 2654435761) >>> 0));
  let colours = null, box = null, toX = null, toY = null, pen = null;

  function places(width, height) {
    const { x0, x1, y0, y1 } = state.view;
    box = { left: width < 500 ? 50 : 66, top: 12, right: width - 12, bottom: height - 46 };
    box.width = box.right - box.left;
    box.height = box.bottom - box.top;
    toX = (value) => box.left + ((value - x0) / (x1 - x0)) * box.width;
    toY = (value) => box.bottom - ((value - y0) / (y1 - y0)) * box.height;
    const a = table.columns[state.x].values, b = table.columns[state.y].values;
    for (let i = 0; i < table.count; i += 1) { px[i] = toX(a[i]); py[i] = toY(b[i]); }
  }

  function axes() {
    const [x, y] = [table.columns[state.x], table.columns[state.y]], { x0, x1, y0, y1 } = state.view;
    pen.font = "11.5px system-ui, 'Segoe UI', Roboto, Arial, sans-serif";
    pen.lineWidth = 1;
    const across = linearTicks(x0 / x.scale, x1 / x.scale, box.width / 85), up = linearTicks(y0 / y.scale, y1 / y.scale, box.height / 55);
    const line = (x_, y_, x2, y2, style) => { pen.strokeStyle = style; pen.beginPath(); pen.moveTo(x_, y_); pen.lineTo(x2, y2); pen.stroke(); };
    pen.fillStyle = colours.muted;
    for (const value of across.values) {
      const at = Math.round(toX(value * x.scale)) + 0.5;
      line(at, box.top, at, box.bottom, colours.faint);
      pen.textAlign = "center";
      pen.fillText(grouped(value.toFixed(across.digits)), at, box.bottom + 16);
    }
    for (const value of up.values) {
      const at = Math.round(toY(value * y.scale)) + 0.5;
      line(box.left, at, box.right, at, colours.faint);
      pen.textAlign = "right";
      pen.fillText(grouped(value.toFixed(up.digits)), box.left - 7, at + 4);
    }
    line(box.left, box.bottom + 0.5, box.right, box.bottom + 0.5, colours.muted);
    pen.fillStyle = colours.ink;
    pen.font = `600 ${pen.font}`;
    pen.textAlign = "center";
    pen.fillText(axisLabel(x), (box.left + box.right) / 2, box.bottom + 36);
    pen.save();
    pen.translate(13, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(axisLabel(y), 0, 0);
    pen.restore();
  }

  // Colour of every point as a number below `styles.length`; the last one is for what has no value.
  function buckets() {
    const [kind, place] = state.colour.split(" ");
    if (kind === "block") {
      const width = table.blocks.length, block = Number(place);
      for (let i = 0; i < table.count; i += 1) bucket[i] = table.digits[i * width + block];
      return table.blocks[block].options.map((_, option) => colours[OPTIONS[option % OPTIONS.length]]);
    }
    if (kind === "column") {
      const { values, low, high } = table.columns[Number(place)], span = (STEPS - 1e-6) / (high - low || 1);
      for (let i = 0; i < table.count; i += 1) bucket[i] = values[i] === values[i] ? Math.floor((values[i] - low) * span) : STEPS;
      return [...colours.ramp, colours.muted];
    }
    bucket.fill(0);
    return [colours.c0];
  }

  function points() {
    const styles = buckets(), { kept } = state, seen = (i) => px[i] >= box.left - 4 && px[i] <= box.right + 4 && py[i] >= box.top - 4 && py[i] <= box.bottom + 4;
    const shown = mixed.filter(seen), visible = shown.length;
    const small = box.width < 500, size = visible > 8000 ? (small ? 2 : 2.5) : visible > 2000 ? 3 : visible > 300 ? 4 : 6;
    let drawn = 0;
    const dots = (wanted, style) => {
      for (const i of shown) {
        if (kept[i] !== wanted) continue;
        pen.fillStyle = style(i);
        pen.fillRect(px[i] - size / 2, py[i] - size / 2, size, size);
        drawn += 1;
      }
    };
    pen.globalAlpha = 0.55;
    if (state.others) dots(0, () => colours.edge);
    pen.globalAlpha = state.colour ? 0.8 : visible > 2000 ? (small ? 0.25 : 0.4) : 0.7;
    dots(1, (i) => styles[bucket[i]]);
    pen.globalAlpha = 1;
    return drawn;
  }

  function shape(i, form, size) {
    const x = px[i], y = py[i];
    pen.beginPath();
    if (form === "circle") pen.arc(x, y, size, 0, 2 * Math.PI);
    else if (form === "diamond") { pen.moveTo(x, y - size); pen.lineTo(x + size, y); pen.lineTo(x, y + size); pen.lineTo(x - size, y); pen.closePath(); }
    else if (form === "triangle") { pen.moveTo(x, y - size); pen.lineTo(x + size, y + size * 0.8); pen.lineTo(x - size, y + size * 0.8); pen.closePath(); }
    else pen.rect(x - size, y - size, 2 * size, 2 * size);
  }

  function named(i, text, form) {
    shape(i, form, 6.5);
    pen.fillStyle = colours.paper;
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    pen.fill();
    pen.stroke();
    pen.font = "600 12px system-ui, 'Segoe UI', Roboto, Arial, sans-serif";
    const left = px[i] + 90 > box.right;
    pen.textAlign = left ? "right" : "left";
    pen.lineWidth = 4;
    pen.strokeStyle = colours.paper;
    pen.fillStyle = colours.ink;
    const at = [text, px[i] + (left ? -11 : 11), py[i] - 7];
    pen.strokeText(...at);
    pen.fillText(...at);
  }

  function staircase() {
    const { line } = state;
    if (!line.length) return;
    pen.beginPath();
    line.forEach((i, k) => {
      if (!k) pen.moveTo(px[i], py[i]);
      else { pen.lineTo(px[i], py[line[k - 1]]); pen.lineTo(px[i], py[i]); }
    });
    rimmed(pen, 3.5, 1.5);
  }

  function marks() {
    const { kept, given, line } = state, on = new Set(line);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1;
    const many = given.ties.length > 300;  // faint, so that they do not bury the cloud
    pen.globalAlpha = many ? 0.3 : 1;
    for (const i of given.ties) if (kept[i]) { shape(i, "circle", many ? 1.6 : 2.8); pen.stroke(); }
    pen.globalAlpha = 1;
    staircase();
    pen.fillStyle = colours.ink;
    for (const i of given.front) if (kept[i] && !on.has(i)) { shape(i, "square", 2); pen.fill(); }
    pen.strokeStyle = colours.paper;
    for (const i of line) { shape(i, "circle", 3.4); pen.fill(); pen.stroke(); }
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1.6;
    for (const i of given.shortlist) if (kept[i]) { shape(i, "diamond", 7.5); pen.stroke(); }
    if (given.baseline !== null) named(given.baseline, "baseline", "square");
    if (given.knee !== null && kept[given.knee]) named(given.knee, "knee", "triangle");
  }

  function paint(width, height, ratio) {
    colours = palette();
    pen = sizeCanvas(base, width, height, ratio);
    places(width, height);
    axes();
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 6, box.width + 6, box.height + 6);
    pen.clip();
    const drawn = points();
    marks();
    pen.restore();
    sizeCanvas(over, width, height, ratio);
    return drawn;
  }

  // The path, dark on a pale rim.
  function rimmed(ink, rim, line) {
    for (const [style, width] of [[colours.paper, rim], [colours.ink, line]]) { ink.strokeStyle = style; ink.lineWidth = width; ink.stroke(); }
  }

  function ring(ink, i, size) {
    ink.beginPath();
    ink.arc(px[i], py[i], size, 0, 2 * Math.PI);
    rimmed(ink, 5, 2);
  }

  // One standard error to either side, on each axis that has them.
  function bars(ink, i) {
    const lines = [], [x, y] = [px[i], py[i]], [across, up] = [table.columns[state.x], table.columns[state.y]];
    if (across.errors && across.errors[i] > 0) {
      const [low, high] = [-1, 1].map((side) => toX(across.values[i] + side * across.errors[i]));
      lines.push([low, y, high, y], [low, y - 5, low, y + 5], [high, y - 5, high, y + 5]);
    }
    if (up.errors && up.errors[i] > 0) {
      const [low, high] = [-1, 1].map((side) => toY(up.values[i] + side * up.errors[i]));
      lines.push([x, low, x, high], [x - 5, low, x + 5, low], [x - 5, high, x + 5, high]);
    }
    ink.beginPath();
    for (const [x1, y1, x2, y2] of lines) { ink.moveTo(x1, y1); ink.lineTo(x2, y2); }
    rimmed(ink, 4, 1.5);
  }

  function follow(width, height, ratio, frame) {
    const ink = sizeCanvas(over, width, height, ratio);
    ink.save();
    ink.beginPath();
    ink.rect(box.left, box.top - 6, box.width + 6, box.height + 6);
    ink.clip();
    if (state.pinned >= 0) ring(ink, state.pinned, 9);
    if (state.near >= 0) { bars(ink, state.near); ring(ink, state.near, 5.5); }
    if (frame) {
      ink.fillStyle = colours.track;
      ink.strokeStyle = colours.ink;
      ink.lineWidth = 1;
      ink.globalAlpha = 0.4;
      ink.fillRect(...frame);
      ink.globalAlpha = 1;
      ink.strokeRect(...frame);
    }
    ink.restore();
  }

  // The kept point nearest to the pointer, -1 where none is near.
  function near(x, y) {
    let best = -1, least = REACH * REACH;
    for (let i = 0; i < table.count; i += 1) {
      const away = (px[i] - x) ** 2 + (py[i] - y) ** 2;
      if (away < least && state.kept[i] && px[i] >= box.left && px[i] <= box.right && py[i] >= box.top && py[i] <= box.bottom) { least = away; best = i; }
    }
    return best;
  }

  const value = (x, y) => [state.view.x0 + ((x - box.left) / box.width) * (state.view.x1 - state.view.x0), state.view.y1 - ((y - box.top) / box.height) * (state.view.y1 - state.view.y0)];
  return { paint, follow, value, at: (i) => [px[i], py[i]], near, box: () => box };
}
