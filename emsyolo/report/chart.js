// A chart of lines: {lines: [{name, points: [[x, y], ...], color, wide, area}], alone, x, y: [low, high], xname, label, mark, cursor, pick}.
function chart(place, spec) {
  const points = spec.lines.flatMap(line => line.points);
  const xs = points.map(p => p[0]), [left, right] = spec.x || [Math.min(...xs), Math.max(...xs)];
  const top = spec.y ? spec.y[1] : Math.max(...points.map(p => p[1]), 1e-12) * 1.06;
  const state = {cursor: spec.cursor};
  const key = make("div", {class: "key"});
  for (const line of spec.alone ? [] : spec.lines) {
    const sign = make("i");
    sign.style.borderColor = line.color;
    key.append(make("span", {}, sign, line.name));
  }
  const render = () => {
    const width = Math.max(240, place.clientWidth), height = clamp(width * .45, 150, 290);
    const box = {l: 44, r: width - 12, t: 12, b: height - 36};
    const px = x => box.l + (right > left ? (x - left) / (right - left) : .5) * (box.r - box.l);
    const py = y => box.b - y / top * (box.b - box.t);
    const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.label});
    for (const y of ticks(top, 4)) {
      svg.append(draw("line", {class: "grid", x1: box.l, x2: box.r, y1: py(y), y2: py(y)}),
        draw("text", {x: box.l - 7, y: py(y) + 4, "text-anchor": "end", text: short(y)}));
    }
    for (const x of ticks(right, Math.max(2, Math.floor(width / 90)), left, spec.whole)) {
      svg.append(draw("text", {x: px(x), y: box.b + 17, "text-anchor": "middle", text: short(x)}));
    }
    svg.append(draw("line", {class: "axis", x1: box.l, x2: box.r, y1: box.b, y2: box.b}),
      draw("text", {x: (box.l + box.r) / 2, y: height - 3, "text-anchor": "middle", text: spec.xname}));
    for (const line of spec.lines) {
      const path = line.points.map(p => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join(" ");
      if (!path) continue;
      if (line.area) {
        const ends = [line.points.at(-1)[0], line.points[0][0]].map(x => `${px(x)},${box.b}`).join(" ");
        svg.append(draw("polygon", {points: `${path} ${ends}`, fill: line.color, opacity: .16}));
      }
      svg.append(draw("polyline", {points: path, fill: "none", stroke: line.color, "stroke-width": line.wide ? 3 : 2,
        "stroke-linejoin": "round"}));
      if (line.points.length < 16) {
        for (const p of line.points) svg.append(draw("circle", {cx: px(p[0]), cy: py(p[1]), r: 3, fill: line.color}));
      }
    }
    if (spec.mark) {
      const x = px(spec.mark.x), end = x > width * .6;
      svg.append(draw("line", {class: "mark", x1: x, x2: x, y1: box.t, y2: box.b}),
        draw("text", {class: "strong", x: x + (end ? -7 : 7), y: box.t + 9, "text-anchor": end ? "end" : "start",
          text: spec.mark.text}));
    }
    state.line = draw("line", {class: "cursor", y1: box.t, y2: box.b});
    state.at = x => { state.line.setAttribute("x1", px(x)); state.line.setAttribute("x2", px(x)); };
    if (state.cursor !== undefined) { svg.append(state.line); state.at(state.cursor); }
    if (spec.pick) {
      svg.style.cursor = "pointer";
      svg.addEventListener("pointerdown", event => {
        const rect = svg.getBoundingClientRect(), x = (event.clientX - rect.left) / rect.width * width;
        spec.pick(clamp(left + (x - box.l) / (box.r - box.l) * (right - left), left, right));
      });
    }
    place.replaceChildren(key, svg);
  };
  let width = -1;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    render();
  }).observe(place);
  render();
  return {move: x => { state.cursor = x; if (state.at) state.at(x); }};
}

// Round numbers from low to high.
function ticks(high, count, low = 0, whole = false) {
  const raw = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map(n => n * power).find(n => n >= raw * .75);
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9); n++) found.push(n * step);
  return found;
}
