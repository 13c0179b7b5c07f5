"use strict";
// Data and helpers.

const findings = JSON.parse(document.getElementById("findings").textContent);
const { tokens, positions, lens, model } = findings;
const first = positions[0].index; // the positions before it are not explained
const $ = (id) => document.getElementById(id);
const percent = (p) => (p >= 0.0995 ? `${Math.round(100 * p)} %` : `${(100 * p).toFixed(1)} %`);
const signed = (x) => `${x > 0 ? "+" : x < 0 ? "−" : ""}${Math.abs(x).toFixed(2)}`;
const quoted = (token) => `“${token}”`;
const SHADINGS = {
  ablation: "ablation",
  attention: "attention, averaged over all heads",
  value_weighted: "value-weighted attention",
  gradient_times_input: "gradient × input",
};

// The current selection: a position (kept, or pointed at for now), a shading, and possibly a head.

const state = { kept: positions.length - 1, pointed: null, shading: "ablation", head: null };
const current = () => positions[state.pointed ?? state.kept];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shade(made, strength, colour = "attention") {
  made.style.setProperty("--strength", Math.max(0, Math.min(1, strength)).toFixed(3));
  made.style.setProperty("--shade", `var(--${colour})`);
}

// A list of options, one of which has the keyboard focus. Arrow keys move it, Enter and clicks keep
// an option, and the pointer previews one.

function listbox(container, options, columns, { preview, keep }) {
  let at = options.length - 1;
  const usable = (i) => options[i] && options[i].getAttribute("aria-disabled") !== "true";
  const moveTo = (i) => {
    if (!usable(i)) return;
    options[at].tabIndex = -1;
    at = i;
    options[at].tabIndex = 0;
    options[at].focus({ preventScroll: true });
    options[at].scrollIntoView({ block: "nearest", inline: "nearest" });
    preview(at);
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const firstUsable = options.findIndex((_, i) => usable(i));
  container.addEventListener("keydown", (event) => {
    if (event.key in steps) moveTo(at + steps[event.key]);
    else if (event.key === "Home") moveTo(firstUsable);
    else if (event.key === "End") moveTo(options.length - 1);
    else if (event.key === "Enter" || event.key === " ") keep(at);
    else if (event.key === "Escape") preview(null);
    else return;
    event.preventDefault();
  });
  options.forEach((option, i) => {
    option.tabIndex = i === at ? 0 : -1;
    option.addEventListener("pointerenter", () => usable(i) && preview(i));
    option.addEventListener("click", () => {
      if (!usable(i)) return;
      moveTo(i);
      keep(i);
    });
  });
  container.addEventListener("pointerleave", () => preview(null));
}

// Build the static elements.

const tokenBoxes = tokens.map((token, i) => {
  const box = element("div", { role: "option", "aria-selected": "false" }, token);
  if (i < first) box.setAttribute("aria-disabled", "true");
  return box;
});
$("tokens").append(...tokenBoxes);
listbox($("tokens"), tokenBoxes, 1, {
  preview: (i) => {
    state.pointed = i === null ? null : i - first;
    show();
  },
  keep: (i) => {
    state.kept = i - first;
    show();
  },
});

for (const [name, words] of Object.entries(SHADINGS)) {
  const radio = element("input", { type: "radio", name: "shading", value: name });
  radio.checked = name === state.shading;
  radio.addEventListener("change", () => {
    state.shading = name;
    state.head = null;
    show();
  });
  $("shading").append(element("label", {}, radio, ` ${words}`));
}

const headBoxes = [];
for (let layer = 0; layer < model.layers; layer++) {
  const row = element("div", { class: "layer" }, element("span", {}, `layer ${layer}`));
  row.style.setProperty("--n-heads", model.heads);
  for (let head = 0; head < model.heads; head++) {
    const box = element(
      "div",
      { class: "head", role: "option", "aria-selected": "false" },
      element("div"),
      element("span"),
    );
    headBoxes.push(box);
    row.append(box);
  }
  $("heads").append(row);
}
let keptHead = null;
listbox($("heads"), headBoxes, model.heads, {
  preview: (i) => {
    state.head = i ?? keptHead;
    show();
  },
  keep: (i) => {
    keptHead = keptHead === i ? null : i;
    state.head = keptHead;
    show();
  },
});

const lensHead = element("tr", {}, element("th", { scope: "col" }, "after"));
tokens.forEach((token) => lensHead.append(element("th", { scope: "col" }, token)));
const lensBody = element("tbody");
lens.layers.forEach((name, row) => {
  const made = element("tr", {}, element("th", { scope: "row" }, name));
  lens.cells[row].forEach((top) => {
    const title = top.map(([token, p]) => `${token} ${percent(p)}`).join(", ");
    const cell = element("td", { title }, top[0][0]);
    shade(cell, top[0][1]);
    made.append(cell);
  });
  lensBody.append(made);
});
$("lens").append(element("thead", {}, lensHead), lensBody);

if (first > 0) $("hint").append(" Faint tokens are context only: their predictions are not explained.");
$("facts").textContent =
  `A model of ${model.parameters.toLocaleString("en")} parameters, ${model.layers} layers of ${model.heads} heads; ` +
  `${tokens.length} tokens, of which the last ${positions.length} are explained.`;

if (findings.patching) showPatching(findings.patching);

// Update the elements that depend on the selection.

function bars(container, rows, largest, format) {
  const signedBars = rows.some(([, value]) => value < 0);
  container.replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const bar = element("i");
      const width = (Math.abs(value) / largest) * (signedBars ? 50 : 100);
      bar.style.width = `${width}%`;
      bar.style.left = signedBars ? `${value < 0 ? 50 - width : 50}%` : "0";
      if (value < 0) bar.className = "against";
      return [
        element("span", { class: "name" }, name),
        element("span", { class: "bar" }, bar),
        element("span", { class: "value" }, format(value)),
      ];
    }),
  );
}

function headAttention(position, i) {
  return position.attention[Math.floor(i / model.heads)][i % model.heads].map((w) => w / 1000);
}

function show() {
  const position = current();
  const values =
    state.head === null ? position.measures[state.shading] : headAttention(position, state.head);
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  const scale = state.head === null ? largest : 1;
  tokenBoxes.forEach((box, i) => {
    const value = values[i] ?? 0;
    const colour = state.head !== null || state.shading.startsWith("attention") ? "attention" : "lost";
    shade(box, Math.abs(value) / scale, value < 0 ? "gained" : colour === "lost" ? "lost" : "attention");
    box.setAttribute("aria-selected", String(i === position.index));
    box.title = i <= position.index ? values[i].toFixed(3) : "after the selected position: not visible to it";
  });
  showWords(position, values);
  showHeads(position);
  bars($("predictions"), position.predictions, 1, percent);
  $("direct-target").textContent = position.target;
  const written = position.direct.components;
  bars($("direct"), written, Math.max(...written.map(([, value]) => Math.abs(value)), 1e-9), signed);
  for (const row of $("lens").rows) {
    [...row.cells].forEach((cell, i) => cell.classList.toggle("chosen", i === position.index + 1));
  }
}

function showWords(position, values) {
  const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const named = order
    .slice(0, 3)
    .map((i) => `${quoted(tokens[i])} ${state.head === null ? signed(values[i]) : percent(values[i])}`)
    .join(", ");
  const next = position.in_text ? "comes next in the text" : "is the model's most likely next token";
  const what = state.head === null ? SHADINGS[state.shading] : `the attention of head ${headName(state.head)}`;
  $("summary").textContent =
    `After ${quoted(tokens[position.index])}: ${quoted(position.target)} ${next}, probability ${percent(position.probability)}, ` +
    `rank ${position.rank}. Largest values of ${what}: ${named}.`;
  const agrees = position.correlations[state.shading];
  $("legend").textContent =
    state.head !== null
      ? "Attention shows where a head looks, not which information it reads there."
      : state.shading === "ablation"
        ? `Nats by which the log-probability of ${quoted(position.target)} decreases, or increases (violet), when the token ` +
          "is ablated (no later position attends to it; the last is blanked). An intervention, so the other measures are " +
          "compared with it."
        : `Rank correlation with ablation, over these tokens: ${agrees === null ? "none" : agrees.toFixed(2)}.`;
}

function headName(i) {
  return `${Math.floor(i / model.heads)}.${i % model.heads}`;
}

function showHeads(position) {
  headBoxes.forEach((box, i) => {
    const weights = headAttention(position, i);
    const most = weights.indexOf(Math.max(...weights));
    const step = 100 / tokens.length;
    const stops = weights.map((w, t) => {
      const colour = `color-mix(in srgb, var(--attention) ${Math.round(100 * w)}%, var(--paper))`;
      return `${colour} ${(t * step).toFixed(2)}% ${((t + 1) * step).toFixed(2)}%`;
    });
    stops.push(`var(--line) ${(weights.length * step).toFixed(2)}% 100%`);
    box.firstChild.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    box.lastChild.textContent = tokens[most];
    box.title = `head ${headName(i)}: ${tokens[most]} ${percent(weights[most])}`;
    box.setAttribute("aria-label", box.title);
    box.setAttribute("aria-selected", String(i === state.head));
  });
}

function showPatching({ answer, other, maps }) {
  $("patching").hidden = false;
  $("patching-hint").textContent =
    `Two prompts, answered ${quoted(answer)} and ${quoted(other)}. In a run on the second, one activation is replaced by its value on ` +
    "the first. 1 means that the whole difference is restored, 0 means no change. In brackets, the estimate by one " +
    "backward pass. The common tokens at the beginning are omitted, since all effects there are zero.";
  for (const { name, rows, columns, effects, estimates } of maps) {
    const head = element("tr", {}, element("th"), ...columns.map((column) => element("th", { scope: "col" }, column)));
    const body = rows.map((row, r) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, row),
        ...columns.map((_, c) => {
          const cell = element("td", {}, `${effects[r][c].toFixed(2)} (${estimates[r][c].toFixed(2)})`);
          shade(cell, Math.abs(effects[r][c]), effects[r][c] < 0 ? "gained" : "lost");
          return cell;
        }),
      ),
    );
    const table = element("table", {}, element("caption", {}, name), element("thead", {}, head), ...body);
    $("maps").append(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table));
  }
}

show();
