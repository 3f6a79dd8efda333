// Boxes over a picture of w by h px: what is true dashed, what was found in the colour of its class.
function boxes(shown, found, truth, score) {
  const parts = [];
  for (const [x0, y0, x1, y1, , ignored] of truth || []) {
    parts.push(placed(make("span", {class: ignored ? "box truth ignored" : "box truth"}), shown, x0, y0, x1, y1));
  }
  for (const [x0, y0, x1, y1, label, sure] of found) {
    if (sure < score) continue;
    const color = palette[label % palette.length];
    const words = make("b", {text: `${shown.classes[label]} ${sure.toFixed(2)}`});
    const box = placed(make("span", {class: "box"}, words), shown, x0, y0, x1, y1);
    box.classList.toggle("low", y0 < shown.h * .07);
    box.classList.toggle("right", x0 > shown.w * .7);
    box.style.setProperty("--c", color);
    box.style.setProperty("--on", bright(color) ? "#000" : "#fff");
    parts.push(box);
  }
  return parts;
}
function placed(element, shown, x0, y0, x1, y1) {
  const share = (value, whole) => `${clamp(value / whole, 0, 1) * 100}%`;
  element.style.left = share(x0, shown.w);
  element.style.top = share(y0, shown.h);
  element.style.width = share(x1 - x0, shown.w);
  element.style.height = share(y1 - y0, shown.h);
  return element;
}
const palette = data.palette;
function bright(color) {
  const [red, green, blue] = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16) / 255);
  return .299 * red + .587 * green + .114 * blue > .55;
}
