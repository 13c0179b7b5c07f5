"use strict";
// A figure of the trained model (see reading.py): the reader chooses a token, or points at it, and perhaps a head.
for (const figure of document.querySelectorAll(".reading")) {
  const { tokens, weights, said } = JSON.parse(figure.querySelector(".reading-data").textContent);
  const [heads, queries] = ["head", "query"].map((name) => [...figure.querySelectorAll(`[name=${name}]`)]);
  const views = figure.querySelectorAll(".view");
  const chosen = (radios) => radios.findIndex((radio) => radio.checked);

  function show(query = chosen(queries)) {
    const head = Math.max(chosen(heads), 0);
    figure.querySelector("p").textContent = said[head][query];
    views.forEach((view, k) => { view.hidden = k !== query; });
    if (heads.length) weigh(head, query);
  }

  // Attention: the weights of the chosen head on each token, and the most that each head reads.
  function weigh(head, query) {
    queries.forEach(({ parentElement: label }, key) => {
      const weight = weights[head][query][key];
      label.style.setProperty("--s", (weight ?? 0) / 100);
      label.classList.toggle("later", key > query);
      label.querySelector("output").textContent = key > query ? "" : `${weight}%`;
    });
    heads.forEach(({ parentElement: label }, k) => {
      const row = weights[k][query], most = Math.max(...row);
      label.querySelector("rect").setAttribute("y", query);
      label.querySelector("small").textContent = `${tokens[row.indexOf(most)]} ${most}%`;
    });
  }

  queries.forEach(({ parentElement: label }, query) => {
    label.addEventListener("pointerenter", () => show(query));
    label.addEventListener("pointerleave", () => show());
  });
  figure.addEventListener("change", () => show());
  for (const fieldset of figure.querySelectorAll("fieldset")) fieldset.disabled = false;
}
