function buildTheme() {
  const button = one("#theme"), root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const show = theme => {
    if (theme) root.dataset.theme = theme;
    const dark = theme ? theme === "dark" : system.matches;
    button.setAttribute("aria-pressed", dark);
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", "Dark colours");
  };
  button.addEventListener("click", () => {
    const theme = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    try { localStorage.setItem("theme", theme); } catch { /* a page from a file may keep nothing */ }
    show(theme);
  });
  system.addEventListener("change", () => { if (!root.dataset.theme) show(null); });
  show(kept());
}
function buildTraining() {
  const training = data.training;
  if (!training) return;
  for (const [key, marked] of [["metrics", true], ["losses", true], ["rates", false]]) {
    const place = one(`#training-${key}`), lines = training[key];
    if (!lines.length) { place.closest("figure").remove(); continue; }
    chart(place, {
      lines: lines.map(([name, points], i) => ({name, points, color: palette[i % palette.length]})),
      y: key === "metrics" ? [0, 1.02] : undefined, xname: "epoch", whole: true, label: `${key} by epoch`,
      mark: marked && training.best ? {x: training.best[0], text: key === "metrics"
        ? `best: epoch ${training.best[0]}, ${training.best[1].toFixed(3)}` : "best"} : null,
    });
  }
}
buildTheme();
buildSheets();
buildViewer();
buildScore();
buildFilm();
buildTraining();
buildTables();
