"use strict";
// Pages that compute: the entries of inputs become fields, and each change runs the translated function again, forward
// and backward (see live.py for the elements of a page). A gradient is compared with central differences, and with a
// planted mistake every array is compared with that of the right code. Nothing moves unless the reader moves it.

const DIFFERENT = 1e-9, STEP = 1e-5, RIGHT = 1e-6; // relative to the largest entry; the step of central differences

// Run lines of JavaScript, some of them replaced, and return the functions that they define.
function compiled(lines, edits = {}) {
  const book = {};
  new Function("textbook", lines.map((line, k) => edits[k] ?? line).join("\n"))(book);
  return book;
}

function called(book, example, inputs) {
  const options = Object.entries(example.options).map(([name, value]) => [name, decoded(value, book)]);
  const given = options.length ? [Object.fromEntries(options)] : [];
  return book[example.file][example.function](...Object.values(inputs), ...given);
}

// Run a function forward and backward. Returns the recorded variables of each call, and the gradients by name.
function run(book, example, inputs, dy) {
  py.seen = {};
  try {
    const [, backward] = called(book, example, inputs), returned = backward(dy);
    const gradients = Array.isArray(returned) ? returned : [returned], names = differentiable(inputs);
    return { seen: py.seen, gradients: Object.fromEntries(names.map((name, k) => [`d${name}`, gradients[k]])) };
  } finally {
    py.seen = null;
  }
}

const differentiable = (inputs) => Object.keys(inputs).filter((name) => inputs[name] instanceof NDArray && inputs[name].dtype === py.float);

// The variables by name. Those of the function and its backward come before those of the functions that they call.
function variables({ seen, gradients }, name) {
  const own = [`${name}.<locals>.backward`, name], others = Object.keys(seen).filter((one) => !own.includes(one));
  const frames = [...others, ...own].map((one) => seen[one]?.at(-1) ?? {});
  return Object.assign({}, ...frames.reverse().reverse(), gradients);
}

const largest = (x) => x.data.reduce((most, entry) => (Number.isFinite(entry) ? Math.max(most, Math.abs(entry)) : most), 0);

function differences(x, right) {
  const bound = DIFFERENT * largest(right);
  return [...x.data].map((entry, k) => entry !== right.data[k] && !(Math.abs(entry - right.data[k]) <= bound));
}

// The derivative of Σ y · dy with respect to each entry of an input.
function centralDifferences(book, example, inputs, dy, name) {
  const x = inputs[name], loss = (entry, value) => {
    const moved = x.copy();
    moved.data[entry] = value;
    const [y] = called(book, example, { ...inputs, [name]: moved });
    return np.multiply(y, dy).sum().data[0];
  };
  return new NDArray(x.shape, x.data.map((value, k) => (loss(k, value + STEP) - loss(k, value - STEP)) / (2 * STEP)));
}

function judged(book, example, inputs, dy, gradients) {
  return differentiable(inputs).map((name) => {
    const gradient = gradients[`d${name}`], numeric = centralDifferences(book, example, inputs, dy, name);
    if (!(gradient instanceof NDArray) || !same(gradient.shape, numeric.shape)) return { name: `d${name}`, error: Infinity, isRight: false };
    const error = largest(np.subtract(gradient, numeric)) / Math.max(largest(numeric), 1);
    return { name: `d${name}`, error, isRight: error <= RIGHT };
  });
}

function written(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
  const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
  return text.replace("-", Number(text) ? "−" : "");
}

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...[text].flat());
  return made;
}

// A field for one entry: type a number, use the arrow keys, or drag sideways.
function field(x, entry, label, changed) {
  const input = make("input"), { dtype } = x, step = dtype === py.int ? 1 : 0.1;
  Object.assign(input, { type: "number", step, value: dtype === py.int ? x.data[entry] : x.data[entry].toFixed(2) });
  input.setAttribute("aria-label", label);
  const set = (value) => { x.data[entry] = value; changed(); };
  input.addEventListener("input", () => { if (input.value !== "") set(Number(input.value)); });
  let from = null;
  input.addEventListener("pointerdown", (event) => { from = { x: event.clientX, value: x.data[entry], isDragged: false }; });
  input.addEventListener("pointermove", (event) => {
    const distance = from ? event.clientX - from.x : 0;
    if (!from || (!from.isDragged && Math.abs(distance) < 4)) return;
    from.isDragged = true;
    input.setPointerCapture(event.pointerId);
    const value = from.value + step * Math.round(distance / 8);
    input.value = dtype === py.int ? value : value.toFixed(2);
    set(Number(input.value));
    event.preventDefault();
  });
  for (const kind of ["pointerup", "pointercancel"]) input.addEventListener(kind, () => { from = null; });
  return input;
}

function live(section, example) {
  const right = compiled(example.lines), inputs = decoded({ dict: example.inputs }, right), dy = decoded(example.dy, right);
  const given = Object.fromEntries(inputs);
  let planted = null;

  const arrays = [...section.querySelectorAll("[data-array]")];
  const cellsOf = (array) => [...array.querySelectorAll("[data-i]")];
  const nameOfDy = Object.keys(run(right, example, given, dy).seen[`${example.function}.<locals>.backward`][0])[0];

  const controls = make("p", "controls"), select = make("select"), verdict = make("output");
  select.append(make("option", "", "none"), ...example.mistakes.map(({ sentence }) => make("option", "", sentence)));
  if (example.mistakes.length) controls.append(make("label", "", ["Plant a mistake ", select]), " ");
  controls.append(verdict);
  section.prepend(controls);

  function show() {
    const book = planted ? compiled(example.lines, planted.edits) : right;
    let now, should;
    try {
      [now, should] = [book, right].map((one) => run(one, example, given, dy));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      verdict.className = "wrong";
      verdict.textContent = `Wrong: ${error.message}`;
      return;
    }
    const [values, truth] = [now, should].map((one) => variables(one, example.function));
    for (const array of arrays) {
      const name = array.dataset.array, value = np.asarray(values[name]);
      const wrong = planted && same(value.shape, np.asarray(truth[name]).shape) ? differences(value, np.asarray(truth[name])) : [];
      array.classList.toggle("wrong", wrong.some(Boolean));
      const most = largest(value) || 1;
      for (const cell of cellsOf(array)) {
        const entry = value.data[cell.dataset.i];
        cell.classList.toggle("neg", entry < 0);
        cell.classList.toggle("wrong", Boolean(wrong[cell.dataset.i]));
        cell.style.setProperty("--share", `${Math.round(100 * Math.min(Math.abs(entry) / most, 1))}%`);
        if (!cell.firstElementChild?.matches("input")) cell.textContent = written(entry);
      }
    }
    for (const line of section.querySelectorAll("[data-line]")) {
      const isHere = planted?.line === Number(line.dataset.line);
      line.dataset.right ??= line.textContent;
      line.textContent = isHere ? planted.code : line.dataset.right;
      line.classList.toggle("wrong", isHere);
    }
    const judgements = judged(book, example, given, dy, now.gradients), wrong = judgements.filter(({ isRight }) => !isRight);
    verdict.className = wrong.length ? "wrong" : "right";
    const off = ({ name, error }) => `${name} (off by ${Number.isFinite(error) ? error.toPrecision(2) : "its shape"})`;
    verdict.textContent = wrong.length
      ? `Wrong by central differences: ${wrong.map(off).join(", ")}`
      : `Right: ${judgements.map(({ name }) => name).join(", ")} agree with central differences`;
  }

  for (const array of arrays) {
    const x = array.dataset.array === nameOfDy ? dy : given[array.dataset.array];
    if (!(x instanceof NDArray) || x.dtype === py.bool) continue;
    for (const cell of cellsOf(array)) cell.replaceChildren(field(x, Number(cell.dataset.i), `${array.dataset.array}, entry ${Number(cell.dataset.i) + 1}`, show));
  }
  select.addEventListener("change", () => {
    planted = example.mistakes[select.selectedIndex - 1] ?? null;
    show();
  });
  show();
}

for (const script of document.querySelectorAll("[data-function] script.example")) live(script.closest("[data-function]"), JSON.parse(script.textContent));
