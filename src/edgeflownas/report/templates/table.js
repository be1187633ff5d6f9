"use strict";
// The space in typed arrays: which subnets fit, and the exact front of two columns.

function unpack({ type, data: text }) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new (type === "f4" ? Float32Array : Float64Array)(bytes.buffer);
}

const { count, blocks } = data, wide = blocks.length, digits = Uint8Array.from(data.codes, Number);
const columns = data.columns.map((column) => ({
  ...column, sign: column.minimise ? 1 : -1, values: unpack(column), errors: column.errors && unpack(column.errors),
}));
const codeOf = (i) => Array.from(digits.subarray(i * wide, (i + 1) * wide)).join(",");

// 1 where the subnet fits: in `inside`, if that is given, every option allowed, every limit held (no value: does not fit).
function markKept({ inside, allowed, limits, kept }) {
  for (let i = 0; i < count; i += 1) kept[i] = inside ? inside.charCodeAt(i) - 48 : 1;
  allowed.forEach((options, block) => {
    if (options.every(Boolean)) return;
    for (let i = 0; i < count; i += 1) if (!options[digits[i * wide + block]]) kept[i] = 0;
  });
  limits.forEach((limit, place) => {
    if (limit === null) return;
    const { values, sign } = columns[place];
    for (let i = 0; i < count; i += 1) if (!(sign * values[i] <= sign * limit)) kept[i] = 0;
  });
  return kept.reduce((sum, one) => sum + one, 0);
}

// Subnets that are kept and dominated by no kept one in the two columns, from the best x on; equal pairs stay together.
const orders = new Map();
function frontOf(x, y, kept) {
  const key = `${x} ${y}`, { values: a, sign: sa } = columns[x], { values: b, sign: sb } = columns[y];
  if (!orders.has(key)) {
    const measured = Uint32Array.from(a.keys()).filter((i) => a[i] === a[i] && b[i] === b[i]);
    orders.set(key, measured.sort((i, j) => sa * (a[i] - a[j]) || sb * (b[i] - b[j]) || i - j));
  }
  const front = [];
  let least = Infinity, at = NaN;
  for (const i of orders.get(key)) {
    if (kept[i] && (sb * b[i] < least || (sb * b[i] === least && a[i] === at))) { front.push(i); least = sb * b[i]; at = a[i]; }
  }
  return front;
}

function bestOf({ values, sign }, kept) {
  let best = -1;
  for (let i = 0; i < count; i += 1) {
    if (kept[i] && values[i] === values[i] && (best < 0 || sign * values[i] < sign * values[best])) best = i;
  }
  return best;
}
