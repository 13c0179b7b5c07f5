"use strict";
// The page shows line `at`, with mistake `planted` or null. In the data, null is −∞, which JSON cannot express.
const film = JSON.parse(document.getElementById("data").textContent, (key, value) => value ?? -Infinity);
const element = (name) => document.getElementById(name);
const boxes = [...document.querySelectorAll(".strip .box")];
const arcs = [...document.querySelectorAll(".strip path")];
const items = [...document.querySelectorAll(".lines li")];
let at = 0, planted = null, playing = null;

const isBack = (i) => i >= film.forward;
const wayOf = (name) => (film.lines.some((line, i) => isBack(i) && line.made.includes(name)) ? "grad" : "forward");
const valuesOf = (name) => planted?.values[name] ?? film.values[name].data;
const isDifferent = (i) => planted !== null && film.lines[i].made.some((name) => name in planted.values);

// An array as tables: the last two axes of an array with more axes, once for each head.
function tables(name, data, kind = "") {
  const { shape, labels } = film.values[name], width = shape.at(-1) ?? 1, height = shape.at(-2) ?? 1;
  const figure = make("figure", kind, make("figcaption", "", make("var", "", name), ` ${shape.join(" × ")}`));
  const largest = Math.max(...data.filter(Number.isFinite).map(Math.abs)) || 1, rows = labels.at(-2) ?? "", columns = labels.at(-1) ?? "";
  const isWrong = data === planted?.values[name];
  for (let start = 0; start < data.length; start += width * height) {
    const table = make("table", `matrix ${wayOf(name)}`);
    if (columns) table.append(make("tr", "", make("th"), ...[...columns].map((letter) => make("th", "", letter))));
    for (let row = 0; row < height; row++) {
      const line = table.insertRow();
      if (rows || columns) line.append(make("th", "", rows[row] ?? ""));
      for (let entry = start + row * width; entry < start + (row + 1) * width; entry++) {
        const value = data[entry], cell = make("td", "", written(value, Number.isInteger(value) ? 0 : 2));
        cell.style.setProperty("--s", Math.min(1, Math.abs(value) / largest));
        cell.dataset.entry = entry;
        cell.classList.toggle("neg", value < 0);
        cell.classList.toggle("wrong", isWrong && value !== film.values[name].data[entry]);
        line.append(cell);
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
          now.querySelector(`#read-${read} td[data-entry="${entry}"]`)?.classList.add("lit");
      });
  };
  figure.addEventListener("pointerover", show);
  figure.addEventListener("click", show);
  figure.addEventListener("pointerleave", clear);
}

function codeOf(code, names) {
  return make("code", "", ...code.split(/\b(\w+)\b/).map((part) => (names.includes(part) ? make("b", "", part) : part)));
}

function showLine() {
  const line = film.lines[at], isWrongHere = planted?.line === at, way = isBack(at) ? "back" : "forward";
  const mirrored = `mirrors ${line.mirrors.length > 1 ? "lines" : "line"} ${line.mirrors.join(", ")}`;
  const words = make("span", "quiet", isBack(at) ? ` ${mirrored}` : ` line ${at + 1}`);
  const results = line.made.map((name) => {
    const figure = tables(name, valuesOf(name));
    light(figure, line, name);
    const isOff = planted && name in planted.values;
    return isOff ? [figure, make("div", "should", make("p", "", "should be"), tables(name, film.values[name].data, "small"))] : [figure];
  });
  const sources = line.reads.map((name) => Object.assign(tables(name, valuesOf(name), "small"), { id: `read-${name}` }));
  element("now").replaceChildren(
    make("p", way, isBack(at) ? "backward" : "forward", words),
    ...(isWrongHere ? [make("s", "line", line.code)] : []),
    make("p", "line", codeOf(isWrongHere ? planted.code : line.code, line.made)),
    make("div", "arrays", ...results.flat()),
    ...(sources.length ? [make("p", "quiet from", "from"), make("div", "arrays", ...sources)] : []),
  );
}

function showConsequence() {
  const place = element("consequence");
  place.hidden = planted === null;
  if (planted === null) return;
  const first = make("button", "", film.lines[planted.first].made.join(" "));
  first.addEventListener("click", () => go(planted.first));
  const others = planted.others === 1 ? "that of 1 other line" : `those of ${planted.others} other lines`;
  const weights = Object.keys(film.values).filter((name) => !film.lines.some((line) => line.made.includes(name)));
  const gradients = weights.map((weight) => `d${weight}`).flatMap((name) => {
    const isWrong = planted.wrong.includes(name);
    return [make("var", isWrong ? "wrong" : "right", name + (isWrong ? " ≠" : "")), " "];
  });
  const found = planted.wrong.length
    ? `A gradient check finds it: off by ${planted.error} of the largest derivative.`
    : "A gradient check does not find it: these are the right gradients of a wrong function. A test of the function does.";
  place.replaceChildren(
    make("p", "", planted.why),
    make("p", "", "The first values that differ: ", first, planted.others ? `, and with them ${others}.` : "."),
    make("p", "", ...gradients),
    make("p", "", found),
  );
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
  items.forEach((item, i) => {
    item.querySelector("div").replaceChildren(...film.lines[i].made.map((name) => tables(name, valuesOf(name))));
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
document.querySelector(".controls").hidden = false;
document.querySelector(".film").classList.add("live");
drawThumbnails();
show();
