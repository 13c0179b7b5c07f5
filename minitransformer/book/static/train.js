"use strict";
// The reader's five letters: the ids that stand for them, and steps of AdamW on the weights of the live ladder.
for (const section of document.querySelectorAll("[data-training]")) {
  const { word, letters, steps } = JSON.parse(section.dataset.training), ladder = section.live, { example, inputs } = ladder;
  const first = Object.values(inputs).map((x) => x.copy()), count = letters.length;
  const field = make("input"), train = make("button", "", `Train ${steps} steps here`), restart = make("button", "", "Start again");
  const said = make("output"), label = make("label", "", "Five letters ", field);
  let known = letters, averages, losses;

  // The vocabulary: the letters of the word, and others up to the same number.
  function read() {
    const typed = [...field.value.toLowerCase()];
    if (typed.length !== word.length) return;
    known = [...new Set([...typed, ...letters])].slice(0, count).sort();
    const ids = typed.map((letter) => known.indexOf(letter)), shape = [1, word.length - 1];
    Object.assign(example.options, { ids: { int: ids.slice(0, -1), shape }, targets: { int: ids.slice(1), shape } });
    begin();
  }

  function begin() {
    Object.values(inputs).forEach((x, k) => x.data.set(first[k].data));
    averages = first.map((x) => [np.zeros_like(x), np.zeros_like(x)]);
    losses = [];
    show();
  }

  function step() {
    const { y: [loss], backward } = ladder.call.evaluate(), gradients = backward();
    losses.push(loss.data[0]);
    Object.values(inputs).forEach((x, k) => {
      const [theta, ...moved] = ladder.call.book[example.file].adamw(x, gradients[k], ...averages[k], { t: losses.length });
      x.data.set(theta.data);
      averages[k] = moved;
    });
  }

  function show() {
    ladder.refresh();
    const { loss, logits } = section.variables, best = [...logits].map((row) => row.data.indexOf(row.max().data[0]));
    const before = losses.length ? `The loss was ${losses[0].toFixed(3)}. ` : "";
    said.textContent = `${before}After ${losses.length} steps it is ${loss.data[0].toFixed(3)}, and the likeliest next letters are ${best.map((id) => known[id]).join(" ")}.`;
  }

  Object.assign(field, { value: word, maxLength: word.length, size: word.length, autocomplete: "off", spellcheck: false });
  field.addEventListener("input", read);
  train.addEventListener("click", () => { for (let k = 0; k < steps; k++) step(); show(); });
  restart.addEventListener("click", begin);
  section.prepend(make("div", "controls", label, train, restart, said));
  begin();
}
