"use strict";
// The space in typed arrays: which subnets fit, and the exact front of two columns.

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  return new (packed.type === "f4" ? Float32Array : Float64Array)(bytes.buffer);
}

function openTable() {
  const blocks = data.blocks.length, digits = Uint8Array.from(data.codes, Number);
  const columns = data.columns.map((column, place) => {
    const values = unpack(column);
    let low = Infinity, high = -Infinity;
    for (const value of values) if (value === value) { low = Math.min(low, value); high = Math.max(high, value); }
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
  return kept.reduce((sum, one) => sum + one, 0);
}

const better = (column) => (column.minimise ? 1 : -1);

// Subnets that are kept and dominated by no kept one in the two columns, from the best x on; equal pairs stay together.
function frontOf(table, x, y, kept) {
  const key = `${x.place} ${y.place}`, a = x.values, b = y.values, sa = better(x), sb = better(y);
  if (!table.orders.has(key)) {
    const measured = Uint32Array.from(a.keys()).filter((i) => a[i] === a[i] && b[i] === b[i]);
    table.orders.set(key, measured.sort((i, j) => sa * (a[i] - a[j]) || sb * (b[i] - b[j]) || i - j));
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
