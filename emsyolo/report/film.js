// A recording, answer by answer.
function buildFilm() {
  const film = data.film, section = one("#film");
  if (!film || !section) return;
  const place = one(".film-stage", section), time = one(".film-time", section), now = one(".film-now", section);
  const play = one(".play", section), speed = one(".film-speed", section), score = one(".film-score", section);
  const image = make("img", {width: film.w, height: film.h, draggable: "false"});
  const last = film.frames.length - 1;
  place.style.aspectRatio = `${film.w} / ${film.h}`;
  place.classList.toggle("small", Math.max(film.w, film.h) < 700);
  time.max = last;
  let at = 0, timer = 0;
  const rate = chart(one("#film-rate"), {
    lines: [{name: "events per second", color: palette[0], points: film.rate, area: true}], alone: true,
    xname: "time, s", label: `Events per second along ${film.name}`, cursor: film.frames[0].t,
    pick: x => show(nearest(x)),
  });
  const nearest = x => film.frames.reduce((best, f, i) => Math.abs(f.t - x) < Math.abs(film.frames[best].t - x) ? i : best, 0);
  function show(i) {
    at = clamp(i, 0, last);
    const frame = film.frames[at];
    image.src = frame.picture;
    place.replaceChildren(image, ...boxes(film, frame.found, frame.truth, +score.value));
    const count = frame.found.filter(row => row[5] >= +score.value).length;
    now.textContent = `${frame.t.toFixed(2)} s, ${count} found`;
    image.alt = `${film.name} at ${now.textContent}${frame.truth ? `, ${frame.truth.length} true` : ""}`;
    time.value = at;
    time.setAttribute("aria-valuetext", now.textContent);
    rate.move(frame.t);
  }
  function run(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => at < last ? show(at + 1) : run(false), Math.max(20, film.hop * 1000 / +speed.value)) : 0;
    play.textContent = on ? "Pause" : "Play";
    play.setAttribute("aria-pressed", on);
  }
  play.addEventListener("click", () => { if (!timer && at === last) show(0); run(!timer); });
  speed.addEventListener("change", () => { if (timer) run(true); });
  time.addEventListener("input", () => { run(false); show(+time.value); });
  section.addEventListener("keydown", event => {
    if (event.target.matches("select, .film-score")) return;
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (move) { run(false); show(at + move); }
    else if (event.key === " " && !event.target.matches("button")) play.click();
    else return;
    event.preventDefault();
  });
  score.value = film.score;
  bindRange(score, value => value.toFixed(2), () => show(at))();
}
