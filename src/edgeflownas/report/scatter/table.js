"use strict";
// The space in typed arrays: which subnets fit, the exact front of two columns, the point nearest to the pointer.

function unpack(packed) {
  const text = atob(packed.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new (packed.type === "f4" ? Float32Array : Float64Array)(bytes.buffer);
}

function openTable(data) {
  const blocks = data.blocks.length, digits = new Uint8Array(data.codes.length);
  for (let i = 0; i < digits.length; i += 1) digits[i] = data.codes.charCodeAt(i) - 48;
  const columns = data.columns.map((column, place) => {
    const values = unpack(column);
    let low = Infinity, high = -Infinity;
    for (const value of values) if (value === value) { if (value < low) low = value; if (value > high) high = value; }
    return { ...column, place, values, low, high, errors: column.errors && unpack(column.errors) };
  });
  return {
    count: data.count, blocks: data.blocks, digits, columns, orders: new Map(),
    code: (i) => Array.from(digits.subarray(i * blocks, (i + 1) * blocks)).join(","),
    option: (i, block) => data.blocks[block].options[digits[i * blocks + block]],
  };
}

// 1 where the subnet fits: inside `where` if that is on, every option allowed, every limit held (no value: does not fit).
function markKept(table, state, kept) {
  const { count, digits, blocks, columns } = table, width = blocks.length;
  const inside = state.whereOn ? state.inside : null;
  for (let i = 0; i < count; i += 1) kept[i] = inside ? inside.charCodeAt(i) - 48 : 1;
  state.allowed.forEach((options, block) => {
    if (options.every(Boolean)) return;
    for (let i = 0; i < count; i += 1) if (!options[digits[i * width + block]]) kept[i] = 0;
  });
  state.limits.forEach((limit, place) => {
    if (limit === null) return;
    const { values, minimise } = columns[place];
    for (let i = 0; i < count; i += 1) if (!(minimise ? values[i] <= limit : values[i] >= limit)) kept[i] = 0;
  });
  let remaining = 0;
  for (let i = 0; i < count; i += 1) remaining += kept[i];
  return remaining;
}

const better = (column) => (column.minimise ? 1 : -1);

// Subnets that are kept and dominated by no kept one in the two columns, from the best x on; equal pairs stay together.
function frontOf(table, x, y, kept) {
  const key = `${x.place} ${y.place}`, a = x.values, b = y.values, sa = better(x), sb = better(y);
  if (!table.orders.has(key)) {
    let known = 0;
    const order = new Uint32Array(table.count);
    for (let i = 0; i < table.count; i += 1) if (a[i] === a[i] && b[i] === b[i]) { order[known] = i; known += 1; }
    table.orders.set(key, order.subarray(0, known).sort((i, j) => sa * (a[i] - a[j]) || sb * (b[i] - b[j]) || i - j));
  }
  const front = [];
  let least = Infinity, at = NaN;
  for (const i of table.orders.get(key)) {
    if (!kept[i]) continue;
    if (sb * b[i] < least || (sb * b[i] === least && a[i] === at)) { front.push(i); least = sb * b[i]; at = a[i]; }
  }
  return front;
}

function bestOf(table, column, kept) {
  let best = -1;
  const { values } = column, sign = better(column);
  for (let i = 0; i < table.count; i += 1) {
    if (kept[i] && values[i] === values[i] && (best < 0 || sign * values[i] < sign * values[best])) best = i;
  }
  return best;
}

// Kept points of a picture by cells of 16 px: counted, then dealt into one array.
const CELL = 16;
function gridOf(px, py, kept, box) {
  const wide = Math.max(1, Math.ceil(box.width / CELL)), tall = Math.max(1, Math.ceil(box.height / CELL));
  const starts = new Uint32Array(wide * tall + 1), cell = new Int32Array(px.length).fill(-1);
  let inside = 0;
  for (let i = 0; i < px.length; i += 1) {
    const x = px[i] - box.left, y = py[i] - box.top;
    if (!kept[i] || !(x >= 0 && y >= 0 && x <= box.width && y <= box.height)) continue;
    cell[i] = Math.min(tall - 1, Math.floor(y / CELL)) * wide + Math.min(wide - 1, Math.floor(x / CELL));
    starts[cell[i] + 1] += 1;
    inside += 1;
  }
  for (let c = 1; c < starts.length; c += 1) starts[c] += starts[c - 1];
  const next = starts.slice(), members = new Uint32Array(inside);
  for (let i = 0; i < px.length; i += 1) if (cell[i] >= 0) { members[next[cell[i]]] = i; next[cell[i]] += 1; }
  return { wide, tall, starts, members, px, py, box };
}

function nearest(grid, x, y, reach) {
  const { wide, tall, starts, members, px, py, box } = grid;
  const low = (at, start) => Math.max(0, Math.floor((at - reach - start) / CELL));
  const bottom = Math.min(tall - 1, Math.floor((y + reach - box.top) / CELL)), right = Math.min(wide - 1, Math.floor((x + reach - box.left) / CELL));
  let best = -1, least = reach * reach;
  for (let row = low(y, box.top); row <= bottom; row += 1) {
    for (let column = low(x, box.left); column <= right; column += 1) {
      const c = row * wide + column;
      for (let k = starts[c]; k < starts[c + 1]; k += 1) {
        const i = members[k], away = (px[i] - x) ** 2 + (py[i] - y) ** 2;
        if (away < least) { least = away; best = i; }
      }
    }
  }
  return best;
}
