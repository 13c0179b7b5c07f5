"use strict";
// NumPy and Python for the translated functions (see translation.py): what the textbook uses, with their names and rules.
// An array is a shape and a list of numbers in row-major order. Every result is a new array, never a view: the textbook
// writes only into arrays that it has just created. Keyword arguments are an object at the end.

const textbook = {}; // {file: its functions}
const np = { inf: Infinity, pi: Math.PI, newaxis: null }, py = {}, special = {};

const math = {
  ...{ pi: Math.PI, inf: Infinity, sqrt: Math.sqrt, log: Math.log, exp: Math.exp, cos: Math.cos, floor: Math.floor, ceil: Math.ceil },
  prod: (numbers) => numbers.reduce((product, n) => product * n, 1),
  isfinite: Number.isFinite,
};

class NDArray {
  constructor(shape, data, dtype = py.float) {
    Object.assign(this, { shape, data, dtype });
  }
  get ndim() { return this.shape.length; }
  get size() { return this.data.length; }
  get real() { return this; }
  get T() { return transposed(this, [...this.shape.keys()].reverse()); }
  *[Symbol.iterator]() { for (let i = 0; i < py.len(this); i++) yield py.item(this, i); }
  valueOf() { return py.float(this); }
  astype(dtype) { return new NDArray(this.shape, this.data.map(dtype), dtype); }
  ravel() { return this.reshape(-1); }
  copy() { return this.astype(this.dtype); }
  reshape(...given) {
    const shape = given.flat().map(Number), known = math.prod(shape.filter((n) => n !== -1));
    const whole = shape.map((n) => (n === -1 ? this.size / known : n));
    if (math.prod(whole) !== this.size || !whole.every(Number.isInteger)) throw new RangeError(`cannot reshape (${this.shape}) to (${shape})`);
    return new NDArray(whole, this.data, this.dtype);
  }
  swapaxes(a, b) {
    const axes = [...this.shape.keys()], [i, j] = [axisOf(a, this), axisOf(b, this)];
    [axes[i], axes[j]] = [j, i];
    return transposed(this, axes);
  }
  sum(options) { return reduced(this, options, (total, entry) => total + entry, 0, this.dtype === py.bool ? py.int : this.dtype); }
  max(options) { return reduced(this, options, (a, b) => Math.max(a, b), -Infinity, this.dtype); }
  min(options) { return reduced(this, options, (a, b) => Math.min(a, b), Infinity, this.dtype); }
  mean(options) {
    const total = this.sum(options);
    return np.divide(total, this.size / Math.max(total.size, 1));
  }
}

class Dict extends Map {
  get(key, otherwise = null) { return this.has(key) ? super.get(key) : otherwise; }
}

// Shapes: the distance between neighbours along each axis, and the places of all entries of a view.
function stridesOf(shape) {
  return shape.map((_, axis) => math.prod(shape.slice(axis + 1)));
}

function offsets(shape, strides, start = 0) {
  let found = [start];
  shape.forEach((length, axis) => {
    const longer = new Array(found.length * length);
    found.forEach((place, k) => { for (let i = 0; i < length; i++) longer[k * length + i] = place + i * strides[axis]; });
    found = longer;
  });
  return found;
}

function view(x, shape, strides, start = 0) {
  return new NDArray(shape, Float64Array.from(offsets(shape, strides, start), (place) => x.data[place]), x.dtype);
}

function transposed(x, axes) {
  const strides = stridesOf(x.shape);
  return view(x, axes.map((axis) => x.shape[axis]), axes.map((axis) => strides[axis]));
}

function axisOf(axis, x) {
  if (axis < -x.ndim || axis >= x.ndim) throw new RangeError(`axis ${axis} is out of bounds for shape (${x.shape})`);
  return axis < 0 ? axis + x.ndim : axis;
}

function broadcastShape(...shapes) {
  const ndim = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: ndim }, (_, axis) => {
    const lengths = new Set(shapes.map((shape) => shape[shape.length - ndim + axis] ?? 1));
    lengths.delete(1);
    if (lengths.size > 1) throw new RangeError(`shapes ${shapes.map((shape) => `(${shape})`).join(" and ")} do not broadcast`);
    return [...lengths][0] ?? 1;
  });
}

function broadcastStrides(own, shape) {
  const strides = stridesOf(own), missing = shape.length - own.length;
  return shape.map((_, axis) => (axis < missing || own[axis - missing] === 1 ? 0 : strides[axis - missing]));
}

function reduced(x, { axis = null, keepdims = false } = {}, combine, initial, dtype) {
  const axes = axis === null ? [...x.shape.keys()] : [axis].flat().map((one) => axisOf(one, x)), strides = stridesOf(x.shape);
  if (new Set(axes).size < axes.length) throw new RangeError(`axes ${axes} are not different`);
  const [kept, along] = [false, true].map((within) => [...x.shape.keys()].filter((k) => axes.includes(k) === within));
  const [outer, inner] = [kept, along].map((some) => offsets(some.map((k) => x.shape[k]), some.map((k) => strides[k])));
  const data = Float64Array.from(outer, (first) => inner.reduce((so, place) => combine(so, x.data[first + place]), initial));
  return new NDArray(keepdims ? x.shape.map((n, k) => (axes.includes(k) ? 1 : n)) : kept.map((k) => x.shape[k]), data, dtype);
}

// Functions of single entries: of numbers, or of arrays that broadcast.
const isArray = (value) => value instanceof NDArray || Array.isArray(value);
const isOptions = (value) => value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype;

function elementwise(operation, dtype = null) {
  return (...given) => {
    const operands = given.filter((value) => !isOptions(value));
    if (!operands.some(isArray)) return operation(...operands);
    const arrays = operands.map((value) => np.asarray(value)), shape = broadcastShape(...arrays.map((x) => x.shape));
    const [a, b, c] = arrays.map((x) => x.data);
    const [i, j, k] = arrays.map((x) => offsets(shape, broadcastStrides(x.shape, shape)));
    const data = new Float64Array(math.prod(shape));
    for (let n = 0; n < data.length; n++) data[n] = operation(a[i[n]], b && b[j[n]], c && c[k[n]]);
    return new NDArray(shape, data, dtype ?? (arrays.every((x) => x.dtype === arrays.at(-1).dtype) ? arrays[0].dtype : py.float));
  };
}

Object.assign(np, {
  subtract: elementwise((a, b) => a - b),
  multiply: elementwise((a, b) => a * b),
  divide: elementwise((a, b) => a / b, py.float),
  floor_divide: elementwise((a, b) => Math.floor(a / b)),
  remainder: elementwise((a, b) => a - b * Math.floor(a / b)),
  power: elementwise((a, b) => (b === 2 ? a * a : a ** b)),
  negative: elementwise((a) => -a),
  square: elementwise((a) => a * a),
  maximum: elementwise((a, b) => Math.max(a, b)),
  minimum: elementwise((a, b) => Math.min(a, b)),
  clip: elementwise((a, low, high) => Math.min(Math.max(a, low), high)),
  where: elementwise((test, a, b) => (test ? a : b), py.float),
});
for (const name of ["exp", "log", "sqrt", "tanh", "sin", "cos"]) np[name] = elementwise(Math[name]);
np.add = (a, b) => (Array.isArray(a) && Array.isArray(b) ? [...a, ...b] : plus(a, b));
const plus = elementwise((a, b) => a + b);

// Python's float, int and bool convert one number, and are the types of the entries of an array.
py.float = (value = 0) => {
  if (value instanceof NDArray && value.size !== 1) throw new TypeError(`an array of shape (${value.shape}) is not a number`);
  return Number(value instanceof NDArray ? value.data[0] : value);
};
py.int = (value) => Math.trunc(py.float(value));
py.bool = (value) => (value instanceof NDArray ? py.float(value) !== 0 : Array.isArray(value) ? value.length > 0 : Boolean(value));
const same = (a, b) => (Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((part, k) => same(part, b[k])) : a === b);
const comparison = (operation) => elementwise(operation, py.bool);
Object.assign(np, {
  ...{ float64: py.float, float32: py.float, int64: py.int, bool_: py.bool },
  less: comparison((a, b) => a < b),
  less_equal: comparison((a, b) => a <= b),
  greater: comparison((a, b) => a > b),
  greater_equal: comparison((a, b) => a >= b),
  equal: (a, b) => (a instanceof NDArray || b instanceof NDArray ? comparison((x, y) => x === y)(a, b) : same(a, b)),
  not_equal: (a, b) => (a instanceof NDArray || b instanceof NDArray ? comparison((x, y) => x !== y)(a, b) : !same(a, b)),
  logical_and: comparison((a, b) => Boolean(a && b)),
  logical_or: comparison((a, b) => Boolean(a || b)),
  logical_not: comparison((a) => !a),
});

// Arrays from numbers and from other arrays. A function of one axis moves it to the front.
np.asarray = (value, dtype = null) => {
  if (value instanceof NDArray) return dtype === null || dtype === value.dtype ? value : value.astype(dtype);
  if (Array.isArray(value)) return value.length ? np.asarray(np.stack(value), dtype) : new NDArray([0], new Float64Array(0));
  const type = typeof value === "boolean" ? py.bool : Number.isInteger(value) ? py.int : py.float;
  return np.asarray(new NDArray([], Float64Array.of(value), type), dtype);
};
np.full = (shape, value, dtype = py.float) => {
  const whole = [shape].flat();
  return new NDArray(whole, new Float64Array(math.prod(whole)).fill(value), dtype);
};
const rowsOf = (x, axis) => np.moveaxis(np.asarray(x), axis, 0);
function joined(rows, shape) {
  const data = new Float64Array(math.prod(shape));
  let at = 0;
  for (const row of rows) { data.set(row.data, at); at += row.size; }
  return new NDArray(shape, data, rows[0].dtype);
}
Object.assign(np, {
  array: np.asarray,
  zeros: (shape, dtype) => np.full(shape, 0, dtype),
  ones: (shape, dtype) => np.full(shape, 1, dtype),
  zeros_like: (x) => np.zeros(x.shape, x.dtype),
  arange: (...limits) => np.asarray(py.range(...limits)),
  tri: (N, M = N, k = 0) => {
    const [columns, shift] = isOptions(M) ? [N, 0] : [M, isOptions(k) ? 0 : k];
    const entries = offsets([N, columns], [columns, 1]).map((place) => place % columns <= Math.floor(place / columns) + shift);
    return new NDArray([N, columns], Float64Array.from(entries), py.bool);
  },
  eye: (N) => new NDArray([N, N], Float64Array.from(offsets([N, N], [N, 1]), (place) => place % (N + 1) === 0)),
  sum: (x, options) => np.asarray(x).sum(options),
  broadcast_to: (x, shape) => {
    const array = np.asarray(x);
    if (!same(broadcastShape(array.shape, shape), shape)) throw new RangeError(`(${array.shape}) does not broadcast to (${shape})`);
    return view(array, shape, broadcastStrides(array.shape, shape));
  },
  moveaxis: (x, from, to) => {
    const axes = [...x.shape.keys()], [axis] = axes.splice(axisOf(from, x), 1);
    axes.splice(axisOf(to, x), 0, axis);
    return transposed(x, axes);
  },
  stack: (parts, { axis = 0 } = {}) => {
    const arrays = [...parts].map((part) => np.asarray(part)), [first] = arrays;
    if (!arrays.every((part) => same(part.shape, first.shape))) throw new RangeError("the arrays to stack have different shapes");
    return np.moveaxis(joined(arrays, [arrays.length, ...first.shape]), 0, axis);
  },
  concatenate: (parts, { axis = 0 } = {}) => {
    const arrays = parts.map((part) => rowsOf(part, axis)), [, ...rest] = arrays[0].shape;
    if (!arrays.every((part) => same(part.shape.slice(1), rest))) throw new RangeError("the arrays to join have different shapes");
    return np.moveaxis(joined(arrays, [arrays.reduce((length, part) => length + part.shape[0], 0), ...rest]), 0, axis);
  },
  take: (x, place, { axis }) => py.item(rowsOf(x, axis), place),
  repeat: (x, times, { axis }) => {
    const rows = rowsOf(x, axis), places = py.range(rows.shape[0] * times).map((place) => Math.floor(place / times));
    return np.moveaxis(py.item(rows, np.asarray(places)), 0, axis);
  },
  tile: (x, times) => {
    const shape = [...Array(times.length - x.ndim).fill(1), ...x.shape];
    return times.reduce((so, count, axis) => np.concatenate(Array(count).fill(so), { axis }), x.reshape(shape));
  },
  argsort: (x, { axis = -1 } = {}) => {
    const rows = rowsOf(x, axis), order = rows.copy().T, length = rows.shape[0];
    for (let first = 0; first < order.size; first += length) {
      const lane = order.data.slice(first, first + length);
      order.data.set(py.range(length).sort((a, b) => lane[a] - lane[b]), first);
    }
    return np.moveaxis(order.T, 0, axis);
  },
  put_along_axis: (x, places, value, { axis }) => {
    if (axisOf(axis, x) !== x.ndim - 1) throw new RangeError("put_along_axis needs the last axis");
    const [length, count] = [x.shape.at(-1), places.shape.at(-1)];
    places.data.forEach((place, k) => { x.data[Math.floor(k / count) * length + place] = value; });
  },
});
np.add.at = (x, places, values) => {
  const row = stridesOf(x.shape)[0], added = np.broadcast_to(values, [...places.shape, ...x.shape.slice(1)]);
  added.data.forEach((value, k) => { x.data[places.data[Math.floor(k / row)] * row + (k % row)] += value; });
};

np.matmul = (a, b) => {
  if (!a.ndim || !b.ndim) throw new RangeError("matmul needs arrays with axes");
  const left = a.ndim === 1 ? a.reshape(1, -1) : a, right = b.ndim === 1 ? b.reshape(-1, 1) : b;
  const [rows, inner] = left.shape.slice(-2), [length, columns] = right.shape.slice(-2);
  if (inner !== length) throw new RangeError(`the shapes (${a.shape}) and (${b.shape}) do not fit in a product of matrices`);
  const batches = [left, right].map((x) => x.shape.slice(0, -2)), batch = broadcastShape(...batches);
  const [lefts, rights] = batches.map((own) => offsets(batch, broadcastStrides(own, batch)));
  const data = new Float64Array(lefts.length * rows * columns);
  for (let n = 0, at = 0; n < lefts.length; n++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++, at++)
        for (let k = 0; k < inner; k++)
          data[at] += left.data[(lefts[n] * rows + row) * inner + k] * right.data[(rights[n] * inner + k) * columns + column];
  return new NDArray([...batch, ...(a.ndim > 1 ? [rows] : []), ...(b.ndim > 1 ? [columns] : [])], data);
};

// erf is a sum of positive terms, 2/√π exp(−x²) Σ 2ⁿ x²ⁿ⁺¹ / (1 · 3 · … · (2n + 1)), so no digits cancel.
special.erf = elementwise((x) => {
  if (!(Math.abs(x) < 6)) return Math.sign(x);
  let term = x, total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) total += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}, py.float);

// Indices, with the rules of lists and of arrays.
py.Ellipsis = Symbol("...");
class Slice {
  constructor(start, stop, step) { Object.assign(this, { start, stop, step: step ?? 1 }); }
  within(length) { // its first place, and the number of places
    const [low, high] = this.step > 0 ? [0, length] : [-1, length - 1];
    const bound = (at, otherwise) => (at === null ? otherwise : Math.min(Math.max(at < 0 ? at + length : at, low), high));
    const start = bound(this.start, this.step > 0 ? low : high), stop = bound(this.stop, this.step > 0 ? high : low);
    return [start, Math.max(0, Math.ceil((stop - start) / this.step))];
  }
}
py.slice = (start, stop, step) => new Slice(start, stop, step);

function placeOf(index, length) {
  if (!Number.isInteger(index) || index < -length || index >= length) throw new RangeError(`index ${index} is out of bounds for length ${length}`);
  return index < 0 ? index + length : index;
}

py.item = (x, ...indices) => {
  const [index] = indices;
  if (x instanceof Map) return x.get(index);
  if (!(x instanceof NDArray)) {
    if (!(index instanceof Slice)) return x[placeOf(Number(index), x.length)];
    const [start, count] = index.within(x.length);
    return Array.from({ length: count }, (_, k) => x[start + k * index.step]);
  }
  if (index instanceof NDArray && index.dtype === py.bool) {
    if (!same(index.shape, x.shape)) throw new RangeError(`the mask (${index.shape}) must have the shape (${x.shape})`);
    return np.asarray([...x.data].filter((_, k) => index.data[k]));
  }
  if (index instanceof NDArray && index.ndim) {
    const row = stridesOf(x.shape)[0], [length, ...rest] = x.shape;
    const places = offsets([index.size, row], [row, 1]).map((k) => placeOf(index.data[Math.floor(k / row)], length) * row + (k % row));
    return new NDArray([...index.shape, ...rest], Float64Array.from(places, (place) => x.data[place]), x.dtype);
  }
  const shape = [], strides = [], own = stridesOf(x.shape), read = indices.filter((one) => one !== null && one !== py.Ellipsis).length;
  let axis = 0, start = 0;
  const keep = (count) => { for (; count > 0; count--, axis++) { shape.push(x.shape[axis]); strides.push(own[axis]); } };
  if (read > x.ndim) throw new RangeError(`too many indices for the shape (${x.shape})`);
  for (const one of indices) {
    if (one === py.Ellipsis) keep(x.ndim - read);
    else if (one === null) { shape.push(1); strides.push(0); }
    else if (one instanceof Slice) {
      const [first, count] = one.within(x.shape[axis]);
      start += first * own[axis];
      shape.push(count);
      strides.push(own[axis++] * one.step);
    } else start += placeOf(Number(one), x.shape[axis]) * own[axis++];
  }
  keep(x.ndim - axis);
  return view(x, shape, strides, start);
};

py.put = (x, value, ...indices) => { // x[indices] = value
  const places = py.item(np.arange(x.size).reshape(x.shape), ...indices), values = np.broadcast_to(value, places.shape);
  places.data.forEach((place, k) => { x.data[place] = values.data[k]; });
};

// Python's functions of sequences, and the record of local variables.
const sequences = (given) => given.filter((value) => !isOptions(value)).map((value) => [...value]);
Object.assign(py, {
  len: (value) => (value instanceof NDArray ? value.shape[0] : value.length),
  iterate: (value) => [...value],
  tuple: (value) => [...value],
  list: (value) => [...value],
  range: (first, stop, step = 1) => {
    const [start, end] = stop === undefined ? [0, first] : [first, stop];
    return Array.from({ length: Math.max(0, Math.ceil((end - start) / step)) }, (_, k) => start + k * step);
  },
  reversed: (value) => [...value].reverse(),
  zip: (...given) => { const [first, ...others] = sequences(given); return first.map((one, k) => [one, ...others.map((other) => other[k])]); },
  sum: (numbers) => numbers.reduce((total, one) => np.add(total, one)),
  max: (...numbers) => Math.max(...numbers.flat()),
  min: (...numbers) => Math.min(...numbers.flat()),
  unpack: (value, before, names) => {
    const all = [...value], after = names - before - 1;
    return [...all.slice(0, before), all.slice(before, all.length - after), ...all.slice(all.length - after)];
  },
  partial: (called, ...bound) => (...given) => {
    const all = [...bound, ...given], options = Object.assign({}, ...all.filter(isOptions));
    return called(...all.filter((value) => !isOptions(value)), ...(Object.keys(options).length ? [options] : []));
  },
  seen: null, // {function: the local variables of each of its calls}, or null if they are not recorded
  frame: (name, variables) => {
    if (py.seen) (py.seen[name] ??= []).push(variables);
    return variables;
  },
});

// Values in the form of translation.py's `encoded`.
function decoded(value, book = textbook) {
  if (Array.isArray(value)) return value.map((one) => decoded(one, book));
  if (value === null || typeof value !== "object") return value;
  const [[kind, content]] = Object.entries(value);
  if (kind === "function") return py.partial(book[content][value.name], Object.fromEntries(Object.entries(value.keywords).map(([name, one]) => [name, decoded(one, book)])));
  if (kind === "dict") return new Dict(Object.entries(content).map(([name, one]) => [name, decoded(one, book)]));
  return new NDArray(value.shape, Float64Array.from(content, Number), py[kind]);
}
