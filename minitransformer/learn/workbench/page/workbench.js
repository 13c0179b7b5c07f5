// The page of the workbench: the list of exercises, and an editor whose lines are judged while one types.

const PAUSE = 350; // milliseconds after the last keystroke until the text is saved and checked
const POLL = 2000; // milliseconds between two looks for a change outside of the page
const MARKS = { solved: "■", "not begun": "□" };
const UNFINISHED = new Set(["not begun", "begun"]);
const FAILURE = /^\S+\.py, line (\d+)(?:, .*?)?: (.*)$/;
const UNNAMED = "No known mistake was found that explains this alone. There may be several: compare the values below.";
const SIGNS = { right: "✓", WRONG: "✗", follows: "↳", blank: "…" };
const KEYWORDS = /\b(?:and|as|assert|class|def|elif|else|for|from|if|import|in|is|lambda|not|or|return|while|with|None|True|False)\b/;
const TOKEN = new RegExp(`(#.*)|("""[\\s\\S]*?"""|'[^'\\n]*'|"[^"\\n]*")|(${KEYWORDS.source})`, "g");
const BLANK = /(?:=|return|^)\s*\.\.\./;
const FOLDED = /"""…(\d+) \(\d+ lines?\)"""/g;

const element = (id) => document.getElementById(id);
const secret = takenSecret();
let exercises = []; // {name, title, status}
let exercise = null; // the open one: {name, digest, docstrings, rows}
let waiting = 0; // the timer of the next save
let request = 0; // the number of the latest check of this page

function takenSecret() {
  const given = location.hash.slice(1);
  if (given && !given.startsWith("/")) {
    sessionStorage.setItem("secret", given);
    history.replaceState(null, "", location.pathname); // out of the address, which people copy
  }
  return sessionStorage.getItem("secret") ?? "";
}

async function act(name, given = {}) {
  const headers = { "Content-Type": "application/json", "X-Workbench-Secret": secret };
  const answer = await fetch(`/do/${name}`, { method: "POST", headers, body: JSON.stringify(given) });
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error), { status: answer.status, text: found.text });
  element("failure").hidden = true;
  return found;
}

function report(error) {
  const gone = error instanceof TypeError; // fetch found no server
  element("failure").textContent = gone ? "The program has ended. Start it again: minitransformer learn open" : error.message;
  element("failure").hidden = false;
}

const guarded = (work) => (...given) => Promise.resolve(work(...given)).catch(report);

// The list

async function showList() {
  exercise = null;
  clearTimeout(waiting);
  const found = await act("exercises");
  exercises = found.exercises;
  element("desk").hidden = true;
  element("list").hidden = false;
  element("folder").textContent = found.folder;
  setLevels(found.levels);
  document.title = "Derive it yourself";
  linkToBook(element("book"), found.book);
  drawList();
  drawMap(found.map);
  for (const one of exercises) {
    if (!one.status) {
      one.status = (await act("status", { name: one.name })).status;
      if (exercise) return; // an exercise was opened
      drawStatuses();
    }
  }
}

function drawList() {
  // the items stay while the statuses arrive, so that a click is not lost
  element("exercises").replaceChildren(...exercises.map((one) => {
    one.marks = [marked()];
    const words = document.createElement("span");
    const link = made("a", one.title);
    link.href = `#/${one.name}`;
    words.append(link, " ", made("code", one.name));
    const item = document.createElement("li");
    item.append(...one.marks, words);
    return item;
  }));
}

function marked() {
  const mark = made("span", "", "mark");
  mark.setAttribute("role", "img");
  return mark;
}

// `plan` is text in which <name> stands for an exercise. One that is not in the folder is grey.
function drawMap(plan) {
  element("map").replaceChildren(...plan.split(/<(\w+)>/).flatMap((text, k) => {
    const one = k % 2 ? exercises.find(({ name }) => name === text) : null;
    if (!one) return k % 2 ? made("span", `· ${text}`, "quiet") : text;
    const link = made("a", text), mark = marked();
    link.href = `#/${text}`;
    one.marks.push(mark);
    return [mark, " ", link];
  }));
  drawStatuses();
}

function drawStatuses() {
  for (const one of exercises) {
    for (const mark of one.marks) {
      mark.textContent = MARKS[one.status] ?? (one.status ? "◧" : "□");
      mark.classList.toggle("solved", one.status === "solved");
      mark.setAttribute("aria-label", one.status || "not checked yet");
    }
  }
  const solved = exercises.filter((one) => one.status === "solved").length;
  const left = exercises.some((one) => !one.status);
  element("progress").textContent = left ? `looking for solved exercises: ${solved} so far` : `${solved} of ${exercises.length} solved`;
  linkTo(element("next"), exercises.find((one) => one.status !== "solved"), "next");
}

function linkTo(link, one, word) {
  link.hidden = !one;
  if (!one) return;
  link.href = `#/${one.name}`;
  link.textContent = `${word}: ${one.name}`;
}

function linkToBook(link, page) {
  link.hidden = !page;
  link.href = `/book/${page}`;
}

function made(kind, text, classes = "") {
  const found = document.createElement(kind);
  found.textContent = text;
  found.className = classes;
  return found;
}

// The editor

function setLevels(levels) {
  element("level").replaceChildren(...Object.entries(levels).map(([level, words]) => new Option(`${level}: ${words}`, level)));
}

async function openExercise(name) {
  if (!exercises.length) {
    const found = await act("exercises");
    exercises = found.exercises;
    setLevels(found.levels);
  }
  show(await act("open", { name }));
  await check();
}

function show(found) {
  exercise = { ...found, rows: [], docstrings: [] };
  element("list").hidden = true;
  element("desk").hidden = false;
  element("outside").hidden = true;
  element("verdict").className = "";
  element("title").textContent = `${found.name}: ${found.title}`;
  element("task").innerHTML = found.task; // typeset by the server from the exercise's docstrings, and escaped there
  element("file").textContent = found.file;
  element("level").value = found.level ?? 1;
  document.title = found.name;
  linkToBook(element("chapter"), found.chapter);
  for (const id of ["rows", "sentences", "hints"]) element(id).replaceChildren();
  element("numbers").open = false;
  element("hint").disabled = false;
  element("status").textContent = "";
  element("following").hidden = true;
  setText(found.text);
  const first = [...element("painted").children].find((line) => BLANK.test(line.textContent));
  element("editor").scrollTop = first ? first.offsetTop - element("editor").clientHeight / 2 : 0;
}

// While docstrings are folded, the text area has `"""…1 (10 lines)"""` in place of the first.

function setText(text) {
  exercise.docstrings = [];
  if (!element("docstrings").checked) {
    text = text.replace(/"""[^]*?"""/g, (whole) => {
      const lines = whole.split("\n").length;
      if (lines === 1) return whole;
      exercise.docstrings.push(whole);
      return `"""…${exercise.docstrings.length} (${lines} lines)"""`;
    });
  }
  element("text").value = text;
  paint();
}

const whole = () => element("text").value.replace(FOLDED, (mark, number) => exercise.docstrings[number - 1] ?? mark);

function realLines(shown) {
  // the number of each shown line in the file
  let at = 0;
  return shown.map((line) => {
    at += 1;
    const first = at;
    for (const [, number] of line.matchAll(FOLDED)) at += (exercise.docstrings[number - 1] ?? "").split("\n").length - 1;
    return first;
  });
}

function paint() {
  const shown = element("text").value.split("\n");
  const real = realLines(shown);
  const rows = new Map(exercise.rows.filter((row) => row.line !== null).map((row) => [row.line, row]));
  const inside = coloured(element("text").value);
  element("painted").replaceChildren(...shown.map((_, k) => {
    const line = document.createElement("span");
    const row = rows.get(real[k]);
    const isFailing = Number(exercise.failure?.[1]) === real[k];
    const verdict = isFailing ? "WRONG" : row?.verdict;
    line.className = `row ${verdict?.toLowerCase() ?? ""}`;
    const code = document.createElement("span");
    code.append(...inside[k]);
    line.append(made("span", SIGNS[verdict] ?? "", "sign"), made("span", String(real[k]), "at"), code);
    const words = isFailing ? exercise.failure[2] : row ? inWords(row) : "";
    if (words) line.append(made("span", words, "said"));
    return line;
  }));
}

function coloured(text) {
  // the nodes of each line
  const lines = [[]];
  const put = (part, kind) => part.split("\n").forEach((piece, k) => {
    if (k) lines.push([]);
    lines.at(-1).push(kind ? made("span", piece, kind) : document.createTextNode(piece));
  });
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    put(text.slice(at, match.index), "");
    put(match[0], match[1] ? "comment" : match[2] ? "string" : "keyword");
    at = match.index + match[0].length;
  }
  put(text.slice(at), "");
  return lines;
}

function inWords(row) {
  if (row.verdict === "follows") return row.sentence ? `follows ${row.sentence}` : "follows";
  return row.sentence && row.verdict !== "blank" ? `${row.verdict}: ${row.sentence}` : row.verdict;
}

function typed() {
  exercise.rows = [];
  exercise.failure = null;
  element("hint").disabled = false;
  element("verdict").className = "old";
  paint();
  element("status").textContent = "…";
  element("status").className = "";
  clearTimeout(waiting);
  waiting = setTimeout(guarded(check), PAUSE);
}

async function save(mine) {
  const text = whole();
  try {
    mine.digest = (await act("save", { name: mine.name, text, digest: mine.digest })).digest;
    return true;
  } catch (error) {
    if (error.status !== 409) throw error;
    offer(error.text);
    return false;
  }
}

function offer(text) {
  exercise.outside = text;
  element("outside").hidden = false;
  element("outside").querySelector("span").textContent = `${exercise.file} has changed outside of this page.`;
}

async function check() {
  clearTimeout(waiting);
  const mine = exercise;
  const own = ++request;
  if (!(await save(mine))) return;
  const { number } = await act("check", { name: mine.name });
  for (let parts = 0; parts < 2; ) {
    const found = await act("verdict", { number, parts });
    if (found.state === "cancelled" || exercise !== mine || own !== request) return;
    if (found.state === "running") continue;
    judge(found);
    parts = found.state === "final" ? 2 : 1;
  }
  await showNumbers();
}

function judge(found) {
  exercise.rows = found.rows;
  exercise.failure = found.sentences.map((sentence) => FAILURE.exec(sentence)).find(Boolean);
  element("verdict").className = "";
  const known = exercises.find((one) => one.name === exercise.name);
  if (known) known.status = found.status;
  element("status").textContent = found.is_solved ? "right" : found.status;
  element("status").className = found.is_solved ? "right" : UNFINISHED.has(found.status) ? "" : "wrong";
  const wrong = found.rows.filter((row) => row.verdict === "WRONG");
  if (found.state === "first" && wrong.length) element("status").textContent += ", looking for the mistake …";
  element("rows").replaceChildren(...found.rows.map((row) => {
    const item = made("li", "", row.verdict.toLowerCase());
    if (row.line !== null) {
      const button = made("button", `line ${row.line}`);
      button.addEventListener("click", () => goTo(row.line));
      item.append(button, " ");
    }
    item.append(`${row.equation} ${row.name} ${inWords(row)}`.trim());
    return item;
  }));
  const sentences = [...found.sentences];
  const isUnnamed = wrong.length > 0 && !wrong.some((row) => row.kind) && !sentences.length;
  if (found.state === "final" && isUnnamed && found.status !== "begun") sentences.push(UNNAMED);
  element("sentences").replaceChildren(...sentences.map((sentence) => made("p", sentence)));
  const repaired = new Set(found.rows.filter((row) => ["right", "follows"].includes(row.verdict)).map((row) => row.name));
  if (!found.sentences.length) repaired.add(""); // of a hint on a file that is not Python
  for (const item of [...element("hints").children]) if (repaired.has(item.dataset.about)) item.remove();
  if (wrong.length && !exercise.hasOpened) exercise.hasOpened = element("numbers").open = true;
  const at = exercises.findIndex((one) => one.name === exercise.name);
  linkTo(element("following"), found.is_solved ? exercises.slice(at + 1).find((one) => one.status !== "solved") : null, "next");
  paint();
}

function goTo(line) {
  const shown = element("text").value.split("\n");
  const at = realLines(shown).indexOf(line);
  if (at < 0) return;
  const start = shown.slice(0, at).join("\n").length + (at > 0);
  const blank = shown[at].indexOf("...");
  element("text").focus();
  const from = blank < 0 ? start + shown[at].search(/\S|$/) : start + blank;
  element("text").setSelectionRange(from, blank < 0 ? from : from + 3);
  element("painted").children[at].scrollIntoView({ block: "nearest" });
}

function goToEquation(event) {
  // the link of an equation's number leads to its line in the editor
  const link = event.target.closest("a.number");
  if (!link) return;
  event.preventDefault();
  const shown = element("text").value.split("\n");
  const at = shown.findIndex((line) => line.includes("# ") && line.split("# ").at(-1).includes(link.textContent));
  if (at >= 0) goTo(realLines(shown)[at]);
}

function goToNext() {
  const shown = element("text").value.split("\n");
  const before = element("text").value.slice(0, element("text").selectionStart).split("\n").length;
  const real = realLines(shown);
  const wanted = new Set(exercise.rows.filter((row) => row.verdict === "WRONG").map((row) => row.line));
  wanted.add(Number(exercise.failure?.[1]));
  const places = shown.map((line, k) => (wanted.has(real[k]) || BLANK.test(line) ? k + 1 : 0)).filter(Boolean);
  const next = places.find((line) => line > before) ?? places[0];
  if (next !== undefined) goTo(real[next - 1]);
}

async function hint() {
  await check();
  const { hint: words, about } = await act("hint", { name: exercise.name });
  if (element("hints").lastElementChild?.textContent !== words) element("hints").append(made("li", words));
  element("hints").lastElementChild.dataset.about = about;
  element("hints").lastElementChild.scrollIntoView({ block: "nearest" });
  element("hint").disabled = words.endsWith("(the last hint)");
}

async function showNumbers() {
  if (!element("numbers").open) return;
  const mine = exercise;
  const own = request;
  const place = element("numbers").querySelector("div");
  if (mine.failure && !mine.rows.length) return place.replaceChildren(made("p", mine.failure[0])); // it is not Python
  try {
    const { numbers, given, example } = await act("numbers", { name: mine.name });
    if (exercise !== mine) return;
    element("example").textContent = example;
    const pairOf = (...tables) => {
      const pair = made("div", "", "pair");
      pair.append(...tables);
      return pair;
    };
    const tables = [
      pairOf(...given.map((one) => matrix(one.name, "given", one.values, one.values))),
      ...numbers.map((one) => pairOf(matrix(one.name, "yours", one.yours, one.right), matrix(one.name, "right", one.right, one.right))),
    ];
    place.replaceChildren(...(numbers.length ? tables : [made("p", "This exercise has no backward pass whose values can be shown.")]));
  } catch (error) {
    if (error instanceof TypeError) throw error;
    if (own !== request) return; // another check has cancelled it
    place.replaceChildren(made("p", error.message));
  }
}

function matrix(name, whose, entries, right) {
  const table = document.createElement("table");
  const digits = [...right, ...entries].flat().every(Number.isInteger) ? 0 : 3;
  table.createCaption().textContent = `${name}, ${whose}`;
  if (typeof entries === "string") table.insertRow().insertCell().textContent = entries;
  else entries.forEach((numbers, i) => {
    const row = table.insertRow();
    numbers.forEach((number, j) => {
      const cell = row.insertCell();
      const other = right[i]?.[j];
      const isRight = number !== null && Math.abs(number - other) <= 1e-6 * (1 + Math.abs(other));
      cell.textContent = number === null ? "NaN" : number.toFixed(digits).replace("-", "\u2212");
      if (!isRight) cell.className = "wrong";
    });
  });
  return table;
}

async function beginAnew(words, action, given) {
  const isBegun = exercises.find((one) => one.name === exercise.name).status !== "not begun";
  if (isBegun && !confirm(`${words} The text of now is kept in ${exercise.name}.before-reset.`)) return;
  if (!(await save(exercise))) return;
  show(await act(action, { name: exercise.name, digest: exercise.digest, ...given }));
  await check();
}

function reset() {
  const level = Number(element("level").value);
  return beginAnew(`Begin ${exercise.name} anew at level ${level}?`, "reset", { level });
}

const plant = () => beginAnew(`Replace ${exercise.name} by a complete solution with one mistake, which you find?`, "plant", {});

async function look() {
  // a change outside of the page is offered, and loaded at once if nothing was typed since the last save
  if (!exercise || document.hidden || !element("outside").hidden) return;
  const mine = exercise;
  const found = await act("open", { name: mine.name });
  if (exercise !== mine || found.digest === mine.digest || whole() === found.text) return;
  offer(found.text);
}

function pressed(event) {
  const text = element("text");
  if (event.key === "Escape") {
    text.dataset.leaves = "yes"; // the next Tab moves on
    return;
  }
  if (event.key === "Tab" && !text.dataset.leaves && !event.shiftKey) {
    event.preventDefault();
    insert("    ");
  } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    const line = text.value.slice(0, text.selectionStart).split("\n").at(-1);
    insert(`\n${/^\s*/.exec(line)[0]}${/:\s*$/.test(line) ? "    " : ""}`);
  }
  if (event.key !== "Shift") delete text.dataset.leaves;
}

function insert(words) {
  // execCommand keeps the history of Ctrl-Z, which setRangeText does not
  if (!document.execCommand("insertText", false, words)) {
    element("text").setRangeText(words, element("text").selectionStart, element("text").selectionEnd, "end");
    typed();
  }
}

function shortcut(event) {
  if (!exercise) return;
  const does = event.ctrlKey && event.key === "Enter" ? check : event.altKey && event.key === "n" ? goToNext : event.altKey && event.key === "h" ? hint : null;
  if (does) {
    event.preventDefault();
    guarded(does)();
  }
}

function move() {
  const name = location.hash.startsWith("#/") ? location.hash.slice(2) : "";
  return name ? openExercise(name) : showList();
}

element("task").addEventListener("click", goToEquation);
element("text").addEventListener("input", typed);
element("text").addEventListener("keydown", pressed);
element("check").addEventListener("click", guarded(check));
element("mistake").addEventListener("click", goToNext);
element("hint").addEventListener("click", guarded(hint));
element("reset").addEventListener("click", guarded(reset));
element("plant").addEventListener("click", guarded(plant));
element("numbers").addEventListener("toggle", guarded(showNumbers));
element("docstrings").addEventListener("change", () => setText(whole()));
element("take").addEventListener("click", guarded(() => openExercise(exercise.name)));
element("keep").addEventListener("click", guarded(async () => {
  exercise.digest = (await act("open", { name: exercise.name })).digest;
  element("outside").hidden = true;
  await check();
}));
document.addEventListener("keydown", shortcut);
addEventListener("hashchange", guarded(move));
setInterval(guarded(look), POLL);
document.documentElement.classList.toggle("inside", top !== self);
guarded(move)();
