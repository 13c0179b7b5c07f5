"use strict";
// Pages that compute: the entries of inputs become fields, and each change runs the translated function again, forward
// and backward (see live.py). Gradients are compared with central differences, and with a planted mistake every array is
// compared with that of the right code. Nothing moves unless the reader moves it.

const DIFFERENT = 1e-9, RIGHT = 1e-6; // differences of arrays, and of gradients, relative to the largest entry
const STEPS = [1e-5, 1e-6, 1e-7], KINK = 1e-3; // of central differences; the difference of two slopes at a kink
const AT_ONCE = 60, PAUSE = 200; // number of entries that are compared at each change; others after these milliseconds

// The functions that lines of JavaScript define, after some lines are replaced.
function compiled(lines, edits = {}) {
  const book = {};
  new Function("textbook", lines.map((line, k) => edits[k] ?? line).join("\n"))(book);
  return book;
}

const named = (values, book) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, decoded(value, book)]));
const isShown = (value) => value instanceof NDArray || typeof value === "number";
const parts = (y) => (Array.isArray(y) ? y : [y]);
const size = (x) => x.data.reduce((most, entry) => (Number.isFinite(entry) ? Math.max(most, Math.abs(entry)) : most), 0);

// A call of a function of `book`, whose inputs and dy are {name: array}.
class Call {
  constructor(book, example, inputs, dy) {
    Object.assign(this, { book, example, inputs, dy });
  }

  // The value y and, if the function returns one, its backward.
  evaluate(inputs = this.inputs) {
    const { file, function: name, options } = this.example, given = Object.keys(options).length ? [named(options, this.book)] : [];
    const returned = this.book[file][name](...Object.values(inputs), ...given);
    const hasBackward = Array.isArray(returned) && typeof returned.at(-1) === "function";
    return hasBackward ? { y: parts(returned[0]), backward: returned.at(-1) } : { y: parts(returned) };
  }

  // Run both passes. Returns the variables by name: first those of the shown function and its backward, then of others.
  variables() {
    py.seen = {};
    try {
      const returned = this.evaluate().backward?.(...Object.values(this.dy)), { shown } = this.example;
      const own = [shown, `${shown}.<locals>.backward`], others = Object.keys(py.seen).filter((name) => !own.includes(name));
      const frames = [...others.reverse(), ...own].map((name) => py.seen[name]?.at(-1));
      const qualified = Object.entries(py.seen).flatMap(([name, calls]) =>
        Object.entries(calls.at(-1)).map(([variable, value]) => [`${name} ${variable}`, value]));
      this.gradients = Object.fromEntries(this.differentiable().map((name, k) => [`d${name}`, parts(returned)[k]]));
      return Object.assign(Object.fromEntries(qualified), ...frames);
    } finally {
      py.seen = null;
    }
  }

  differentiable() {
    return Object.keys(this.inputs).filter((name) => this.inputs[name] instanceof NDArray && this.inputs[name].dtype === py.float);
  }

  // The largest difference of a gradient from central differences of Σ y · dy, relative to the largest of these. Between
  // two different one-sided slopes is a kink, where each number from one to the other is right.
  error(name, gradient, step) {
    const x = this.inputs[name], dy = Object.values(this.dy), loss = (entry, value) => {
      const moved = x.copy();
      moved.data[entry] = value;
      const { y } = this.evaluate({ ...this.inputs, [name]: moved });
      return y.reduce((sum, one, k) => sum + np.asarray(np.multiply(one, dy[k])).sum().data[0], 0);
    };
    const here = loss(0, x.data[0]), slopes = x.data.map((value, k) => (loss(k, value + step) - loss(k, value - step)) / (2 * step));
    const largest = Math.max(1, ...slopes.map(Math.abs));
    const off = slopes.map((slope, k) => {
      const difference = Math.abs(gradient.data[k] - slope);
      if (difference <= RIGHT * largest) return difference;
      const right = (loss(k, x.data[k] + step) - here) / step, between = Math.abs(right - slope); // half of the jump
      return between > KINK * largest ? Math.max(0, difference - between) : difference;
    });
    return Math.max(...[...off].map((one) => (Number.isNaN(one) ? Infinity : one))) / largest;
  }

  // A sentence about the gradients, and whether all are right. Call variables() first.
  verdict() {
    if (!this.evaluate().backward) return { isRight: true, text: "" };
    const found = this.differentiable().map((input) => {
      const name = `d${input}`, gradient = this.gradients[name];
      if (!(gradient instanceof NDArray) || !same(gradient.shape, this.inputs[input].shape)) return { name, error: Infinity };
      let error = Infinity;
      for (const step of STEPS) if (!(error <= RIGHT)) error = Math.min(error, this.error(input, gradient, step));
      return { name, error };
    });
    const wrong = found.filter(({ error }) => !(error <= RIGHT)), names = found.map(({ name }) => name).join(", ");
    const off = ({ name, error }) => `${name} is off by ${Number.isFinite(error) ? error.toPrecision(2) : "its shape"}`;
    if (wrong.length) return { isRight: false, text: `Wrong by central differences: ${wrong.map(off).join(", ")}` };
    return { isRight: true, text: `Right: ${names} ${found.length > 1 ? "agree" : "agrees"} with central differences` };
  }
}

function differences(x, right) {
  if (!(x instanceof NDArray) || !same(x.shape, right.shape)) return [...right.data].map(() => true);
  const bound = DIFFERENT * size(right);
  return [...x.data].map((entry, k) => entry !== right.data[k] && !(Math.abs(entry - right.data[k]) <= bound));
}

// A field for one entry of x: type a number, use the arrow keys, or drag sideways.
function field(x, entry, label, digits, changed) {
  const input = make("input"), step = x.dtype === py.int ? 1 : 0.1;
  const show = () => { input.value = x.data[entry].toFixed(digits); };
  const set = (value) => {
    const before = x.data[entry];
    x.data[entry] = value;
    if (!changed()) x.data[entry] = before;
  };
  Object.assign(input, { type: "number", step: x.dtype === py.int ? 1 : "any" });
  input.setAttribute("aria-label", label);
  input.addEventListener("input", () => { if (input.value !== "") set(Number(input.value)); });
  input.addEventListener("change", show);
  input.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: step, ArrowRight: step, ArrowDown: -step, ArrowLeft: -step, PageUp: 10 * step, PageDown: -10 * step };
    if (!(event.key in moves)) return;
    event.preventDefault();
    set(Number((x.data[entry] + moves[event.key]).toFixed(6)));
    show();
  });
  let start = null;
  input.addEventListener("pointerdown", (event) => {
    start = { at: event.clientX, value: x.data[entry] };
    input.setPointerCapture(event.pointerId);
  });
  input.addEventListener("pointermove", (event) => {
    if (!start || Math.abs(event.clientX - start.at) < 4) return;
    set(Number((start.value + step * Math.round((event.clientX - start.at) / 6)).toFixed(6)));
    show();
  });
  for (const kind of ["pointerup", "pointercancel"]) input.addEventListener(kind, () => { start = null; });
  show();
  return { input, show };
}

function live(section, example) {
  const right = compiled(example.lines), inputs = named(example.inputs, right), dy = named(example.dy, right);
  const truth = new Call(right, example, inputs, dy), known = truth.variables(); // may raise an exception
  const [arrays, others] = [true, false].map((isKnown) => [...section.querySelectorAll("[data-array]")].filter(({ dataset }) => isShown(known[dataset.array]) === isKnown));
  for (const array of others) array.closest(".given").hidden = true; // its value follows from the inputs, but not in the code
  const cells = new Map(arrays.map((array) => [array, [...array.querySelectorAll("[data-i]")]]));
  const fields = [], select = make("select"), verdict = make("output"), ones = make("button", "", `Set ${Object.keys(dy).join(" and ")} to 1, as many checks do`);
  const again = make("button", "", "Reset the numbers");
  const entries = truth.differentiable().reduce((sum, name) => sum + inputs[name].size, 0);
  let call = truth, planted = null, timer = null;

  // Show the values, and return whether the function accepts the inputs.
  function show() {
    let values, should;
    try {
      [values, should] = [call.variables(), truth.variables()];
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return false; // such as an id outside the vocabulary
    }
    section.variables = values;
    for (const array of arrays) {
      const { array: name, digits } = array.dataset, value = np.asarray(values[name] ?? NaN), its = np.asarray(should[name]);
      const wrong = planted ? differences(value, its) : [], most = size(value) || 1;
      array.classList.toggle("wrong", wrong.some(Boolean));
      for (const cell of cells.get(array)) {
        const entry = value.data[cell.dataset.i];
        cell.classList.toggle("neg", entry < 0);
        cell.classList.toggle("wrong", Boolean(wrong[cell.dataset.i]));
        cell.style.setProperty("--s", Number.isFinite(entry) ? (Math.abs(entry) / most).toFixed(2) : 0);
        if (!cell.querySelector("input")) cell.textContent = value.dtype === py.bool ? (entry ? "yes" : "no") : written(entry, digits);
      }
    }
    clearTimeout(timer);
    if (entries <= AT_ONCE) judge();
    else {
      Object.assign(verdict, { textContent: "Comparing with central differences …", className: "" });
      timer = setTimeout(judge, PAUSE);
    }
    return true;
  }

  function judge() {
    const { isRight, text } = call.verdict(), isMissed = isRight && planted;
    const said = isMissed ? text.replace("Right:", "Not found: in spite of the mistake,") : text;
    if (verdict.textContent !== said) verdict.textContent = said;
    verdict.className = isMissed ? "" : isRight ? "right" : "wrong";
  }

  // Put the line of a mistake in the place of the right one.
  function showCode() {
    for (const line of section.querySelectorAll(".code .line")) {
      const place = planted?.lines.indexOf(Number(line.hash.slice(2))) ?? -1;
      line.dataset.right ??= line.textContent;
      line.textContent = place < 0 ? line.dataset.right : place ? "" : planted.code;
      line.classList.toggle("wrong", place >= 0);
    }
  }

  function refresh() {
    for (const one of fields) one.show();
    show();
  }

  function plant(mistake) {
    planted = mistake;
    call = planted ? new Call(compiled(example.lines, planted.edits), example, inputs, dy) : truth;
    showCode();
    show();
  }

  const isFound = ({ edits }) => {
    try {
      const changed = new Call(compiled(example.lines, edits), example, inputs, dy);
      changed.variables();
      return !changed.verdict().isRight;
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError) return false; // such a mistake shows itself
      throw error;
    }
  };
  const mistakes = example.mistakes.filter(isFound);
  select.append(make("option", "", "none"), ...mistakes.map(({ code, sentence }) => make("option", "", `${code}: ${sentence}`)));
  select.addEventListener("change", () => plant(mistakes[select.selectedIndex - 1] ?? null));
  ones.addEventListener("click", () => {
    for (const x of Object.values(dy)) x.data.fill(1);
    refresh();
  });
  again.addEventListener("click", () => {
    for (const [given, first] of [[inputs, example.inputs], [dy, example.dy]])
      for (const [name, x] of Object.entries(named(first, right))) Object.assign(given[name], x);
    refresh();
  });
  const controls = make("div", "controls");
  if (mistakes.length) controls.append(make("label", "", "Plant a mistake ", select));
  if (Object.keys(dy).length) controls.append(ones, again, verdict);
  section.prepend(controls);

  for (const array of arrays) {
    const { array: name, digits } = array.dataset, x = dy[name] ?? inputs[name];
    if (!(x instanceof NDArray) || x.dtype === py.bool) continue;
    for (const cell of cells.get(array)) {
      const entry = Number(cell.dataset.i), one = field(x, entry, `${name}, entry ${entry + 1}`, digits, show);
      one.input.dataset.name = name;
      cell.replaceChildren(one.input);
      fields.push(one);
    }
  }
  section.live = { example, inputs, refresh, get call() { return call; } };
  show();
}

for (const script of document.querySelectorAll("[data-function] script.example"))
  live(script.closest("[data-function]"), JSON.parse(script.textContent));
