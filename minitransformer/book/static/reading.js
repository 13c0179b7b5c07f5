"use strict";
// Attention of the trained model (see trained.py): the reader chooses a head and the token that reads, or points at it.
for (const figure of document.querySelectorAll(".reading")) {
  const { tokens, weights, said } = JSON.parse(figure.querySelector(".reading-data").textContent);
  const [heads, queries] = ["head", "query"].map((name) => [...figure.querySelectorAll(`[name=${name}]`)]);
  const chosen = (radios) => radios.findIndex((radio) => radio.checked);

  function show(query = chosen(queries)) {
    const head = chosen(heads);
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
    figure.querySelector("p").textContent = said[head][query];
  }

  queries.forEach(({ parentElement: label }, query) => {
    label.addEventListener("pointerenter", () => show(query));
    label.addEventListener("pointerleave", () => show());
  });
  figure.addEventListener("change", () => show());
  for (const fieldset of figure.querySelectorAll("fieldset")) fieldset.disabled = false;
}
