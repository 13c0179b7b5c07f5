"use strict";
// The page shows line `at`, with mistake `planted` or null. Colours are blue forward, orange in gradients, grey below
// zero; pink marks values that differ because of the planted mistake.
const film = JSON.parse(document.getElementById("data").textContent);
const element = (name) => document.getElementById(name);
const boxes = [...document.querySelectorAll(".strip .box")];
const arcs = [...document.querySelectorAll(".strip path")];
const items = [...document.querySelectorAll(".lines li")];
let at = 0, planted = null, playing = null;

const isBack = (i) => i >= film.forward;
const wayOf = (name) => (film.lines.some((line, i) => isBack(i) && line.made.includes(name)) ? "back" : "forward");
const valuesOf = (name) => planted?.values[name] ?? film.values[name].data;
const isDifferent = (i) => planted !== null && film.lines[i].made.some((name) => name in planted.values);

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function formatted(value) {
  if (value === null) return "−∞";
  const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
  return text.replace("-", Number(text) ? "−" : "");
}

// The share of a colour, 0 to 1, and whether it is that of values below zero.
function shade(value, largest) {
  return value === null ? [1, true] : [Math.min(Math.abs(value) / (largest || 1), 1), value < 0];
}

function largestOf(data) {
  return Math.max(...data.map((value) => (value === null ? 0 : Math.abs(value))));
}

// An array as tables: the last two axes of an array with more axes, once for each head.
function tables(name, data, small) {
  const { shape, labels } = film.values[name], width = shape.at(-1) ?? 1, height = shape.at(-2) ?? 1;
  const figure = make("figure", `array ${wayOf(name)}${small ? " small" : ""}`);
  const caption = make("figcaption");
  caption.append(make("var", "", name), ` ${shape.join(" × ")}`);
  figure.append(caption);
  const largest = largestOf(data), rows = labels.at(-2) ?? "", columns = labels.at(-1) ?? "";
  for (let start = 0; start < data.length; start += width * height) {
    const table = make("table");
    if (columns) {
      const head = table.insertRow();
      head.append(make("td", "corner"), ...[...columns].map((letter) => make("th", "", letter)));
    }
    for (let row = 0; row < height; row++) {
      const line = table.insertRow();
      if (rows || columns) line.append(make("th", "", rows[row] ?? ""));
      for (let column = 0; column < width; column++) {
        const entry = start + row * width + column, cell = line.insertCell();
        const [share, isBelow] = shade(data[entry], largest);
        cell.textContent = formatted(data[entry]);
        cell.style.setProperty("--share", `${Math.round(70 * share)}%`);
        cell.dataset.entry = entry;
        if (isBelow) cell.classList.add("below");
        if (planted?.values[name] && data === planted.values[name] && data[entry] !== film.values[name].data[entry])
          cell.classList.add("differs");
      }
    }
    figure.append(table);
  }
  return figure;
}

// Each result of a line lights up the numbers on which it depends.
function light(figure, line, made) {
  const now = element("now");
  const clear = () => now.querySelectorAll(".lit").forEach((cell) => cell.classList.remove("lit"));
  const show = (event) => {
    clear();
    const cell = event.target.closest("td");
    if (!cell) return;
    cell.classList.add("lit");
    for (const [read, changed] of Object.entries(line.depends[made]))
      changed.forEach((entries, entry) => {
        if (entries.includes(Number(cell.dataset.entry)))
          now.querySelector(`[data-read="${read}"] td[data-entry="${entry}"]`)?.classList.add("lit");
      });
  };
  figure.addEventListener("pointerover", show);
  figure.addEventListener("click", show);
  figure.addEventListener("pointerleave", clear);
}

function codeOf(code, names) {
  const shown = make("code");
  for (const part of code.split(/\b(\w+)\b/)) shown.append(names.includes(part) ? make("b", "", part) : part);
  return shown;
}

function showLine() {
  const line = film.lines[at], now = make("div"), isWrongHere = planted?.line === at;
  const heading = make("p", isBack(at) ? "back" : "forward", isBack(at) ? "backward" : "forward");
  const mirrored = line.mirrors.length > 1 ? "lines" : "line";
  const words = isBack(at) ? ` mirrors ${mirrored} ${line.mirrors.join(", ")}` : ` line ${at + 1}`;
  heading.append(make("span", "quiet", words));
  now.append(heading);
  if (isWrongHere) now.append(make("s", "code", line.code));
  const code = make("p", "code");
  code.append(codeOf(isWrongHere ? planted.code : line.code, line.made));
  now.append(code);
  const results = make("div", "arrays");
  for (const name of line.made) {
    const figure = tables(name, valuesOf(name));
    light(figure, line, name);
    results.append(figure);
    if (planted && name in planted.values) {
      const should = make("div", "should");
      should.append(make("p", "", "should be"), tables(name, film.values[name].data, true));
      results.append(should);
    }
  }
  now.append(results);
  if (line.reads.length) {
    const sources = make("div", "arrays");
    for (const name of line.reads) {
      const figure = tables(name, valuesOf(name), true);
      figure.dataset.read = name;
      sources.append(figure);
    }
    now.append(make("p", "quiet from", "from"), sources);
  }
  element("now").replaceChildren(...now.childNodes);
}

function showConsequence() {
  const place = element("consequence");
  place.hidden = planted === null;
  if (planted === null) return;
  const why = make("p", "", planted.why), first = make("p"), button = make("button", "", film.lines[planted.first].made.join(" "));
  button.addEventListener("click", () => go(planted.first));
  const others = planted.others === 1 ? "that of 1 other line" : `those of ${planted.others} other lines`;
  first.append("The first values that differ: ", button, planted.others ? `, and with them ${others}.` : ".");
  const gradients = make("p", "gradients");
  const weights = Object.keys(film.values).filter((name) => !film.lines.some((line) => line.made.includes(name)));
  for (const name of weights.map((weight) => `d${weight}`)) {
    const isWrong = planted.wrong.includes(name);
    gradients.append(make("var", isWrong ? "wrong" : "right", name + (isWrong ? " ≠" : "")), " ");
  }
  const found = planted.wrong.length
    ? `A gradient check finds it: off by ${planted.error} of the largest derivative.`
    : "A gradient check does not find it: these are the right gradients of a wrong function. A test of the function does.";
  place.replaceChildren(why, first, gradients, make("p", "", found));
}

function showStrip() {
  const read = new Set(film.lines[at].from);
  boxes.forEach((box, i) => {
    box.classList.toggle("now", i === at);
    box.classList.toggle("done", i < at);
    box.classList.toggle("read", read.has(i));
    box.classList.toggle("differs", isDifferent(i));
  });
  for (const arc of arcs) arc.classList.toggle("now", Number(arc.dataset.to) === at);
  const strip = document.querySelector(".strip"), box = boxes[at].getBoundingClientRect();
  strip.scrollLeft += (box.left + box.right) / 2 - (strip.getBoundingClientRect().left + strip.clientWidth / 2);
}

function drawThumbnails() {
  const style = getComputedStyle(document.documentElement), side = 4;
  const colour = (name) => style.getPropertyValue(`--film-${name}`);
  items.forEach((item, i) => {
    const canvas = item.querySelector("canvas"), made = film.lines[i].made;
    const sizes = made.map((name) => {
      const { shape } = film.values[name], width = shape.at(-1) ?? 1, height = shape.at(-2) ?? 1;
      return { name, width, height, count: Math.max(film.values[name].data.length / (width * height), 1) };
    });
    canvas.width = side * sizes.reduce((sum, size) => sum + (size.width + 1) * size.count, -1);
    canvas.height = side * Math.max(...sizes.map((size) => size.height));
    const context = canvas.getContext("2d");
    let left = 0;
    for (const { name, width, height, count } of sizes) {
      const data = valuesOf(name), largest = largestOf(data);
      data.forEach((value, entry) => {
        const [share, isBelow] = shade(value, largest), inBlock = entry % (width * height);
        context.globalAlpha = 0.15 + 0.85 * share;
        context.fillStyle = colour(planted && name in planted.values ? "differs" : isBelow ? "below" : wayOf(name));
        const block = Math.floor(entry / (width * height));
        context.fillRect(left + side * (block * (width + 1) + (inBlock % width)), side * Math.floor(inBlock / width), side - 1, side - 1);
      });
      left += side * (width + 1) * count;
    }
    canvas.hidden = false;
  });
}

function showCode() {
  items.forEach((item, i) => {
    item.classList.toggle("now", i === at);
    item.classList.toggle("differs", isDifferent(i));
    item.querySelector("code").textContent = planted?.line === i ? planted.code : film.lines[i].code;
  });
  const list = items[at].parentElement, top = items[at].offsetTop;
  list.scrollTop = top - list.clientHeight / 2 + items[at].clientHeight / 2;
}

function show() {
  element("at").value = at;
  element("at").setAttribute("aria-valuetext", film.lines[at].code);
  showStrip();
  showCode();
  showLine();
}

function go(i) {
  at = Math.min(Math.max(i, 0), film.lines.length - 1);
  show();
}

function play(isOn) {
  clearInterval(playing);
  playing = isOn ? setInterval(() => (at + 1 < film.lines.length ? go(at + 1) : play(false)), 1200) : null;
  element("play").textContent = isOn ? "❚❚" : "▶";
  element("play").setAttribute("aria-label", isOn ? "pause" : "play");
}

element("before").addEventListener("click", () => go(at - 1));
element("after").addEventListener("click", () => go(at + 1));
element("play").addEventListener("click", () => {
  if (playing === null && at + 1 === film.lines.length) go(0);
  play(playing === null);
});
element("at").addEventListener("input", (event) => go(Number(event.target.value)));
element("mistake").addEventListener("change", (event) => {
  planted = event.target.value === "" ? null : film.mistakes[Number(event.target.value)];
  if (planted) at = planted.line;
  showConsequence();
  drawThumbnails();
  show();
});
for (const place of [...boxes, ...items]) place.addEventListener("click", () => go(Number(place.dataset.line)));
// On the front page, the arrow keys step only within the film.
(document.querySelector(".hero") ?? document).addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  play(false);
  go(at + moves[event.key]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawThumbnails);
document.querySelector(".controls").hidden = false;
document.querySelector(".film").classList.add("live");
drawThumbnails();
show();
