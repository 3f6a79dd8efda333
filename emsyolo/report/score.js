// The threshold on the score, for the images and for precision, recall and F1.
function buildScore() {
  const inputs = all("#score, #score-too"), curve = data.score;
  let line = null;
  const set = value => {
    view.score = value;
    for (const input of inputs) {
      input.value = value;
      input.setAttribute("aria-valuetext", value.toFixed(3));
      const output = input.parentElement.querySelector("output");
      if (output) output.textContent = value.toFixed(2);
    }
    refreshAll();
    if (curve) say(curve, value);
    if (line) line.move(value);
  };
  for (const input of inputs) input.addEventListener("input", () => set(+input.value));
  if (curve) {
    const best = one("#score-best");
    if (best && curve.best !== null) {
      best.hidden = false;
      best.textContent = `best F1: ${curve.best.toFixed(2)}`;
      best.addEventListener("click", () => set(curve.best));
    }
    const points = pick => curve.at.map((t, i) => [t, pick(rates(curve, i))]).filter(p => p[1] !== null);
    line = chart(one("#score-chart"), {
      lines: [
        {name: "precision", color: palette[0], points: points(r => r.precision)},
        {name: "recall", color: palette[1], points: points(r => r.recall)},
        {name: "F1", color: "var(--strong)", wide: true, points: points(r => r.f1)},
      ],
      x: [0, 1], y: [0, 1.02], xname: "score below which boxes are left out", label: "Precision, recall and F1 by score",
      mark: curve.best === null ? null : {x: curve.best, text: `best F1 ${curve.f1.toFixed(3)} at ${curve.best.toFixed(3)}`},
      cursor: view.score, pick: set,
    });
  }
  if (inputs.length) set(gallery ? gallery.score : curve.best || .3);
}
function rates(curve, i) {
  const right = curve.right[i], wrong = curve.wrong[i], all = right + wrong + curve.true;
  return {
    precision: right + wrong ? right / (right + wrong) : null,
    recall: curve.true ? right / curve.true : null,
    f1: all ? 2 * right / all : null,
  };
}
function say(curve, value) {
  let i = curve.at.findIndex(t => t >= value - 1e-9);
  if (i < 0) i = curve.at.length - 1;
  const {precision, recall, f1} = rates(curve, i), words = v => v === null ? "–" : v.toFixed(3);
  const parts = [`At ${curve.at[i].toFixed(3)}: precision `, make("b", {text: words(precision)}), ", recall ",
    make("b", {text: words(recall)}), ", F1 ", make("b", {text: words(f1)}),
    ` — ${curve.right[i]} of ${curve.true} boxes found, ${curve.wrong[i]} detections wrong.`];
  one("#score-words").replaceChildren(...parts);
}
