const data = JSON.parse(document.getElementById("data").textContent);
const SVG = document.getElementById("sample").namespaceURI;
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// A new element with properties (class, text, and else attributes) and children.
function make(name, props = {}, ...children) {
  return filled(document.createElement(name), props, children);
}
function draw(name, props = {}, ...children) {
  return filled(document.createElementNS(SVG, name), props, children);
}
function filled(element, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (key === "text") element.textContent = value;
    else if (value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const short = value => value === 0 ? "0" : Math.abs(value) >= 1e6 ? `${+(value / 1e6).toPrecision(3)} M`
  : Math.abs(value) >= 1e3 ? `${+(value / 1e3).toPrecision(3)} k`
  : Math.abs(value) < 1e-3 ? value.toExponential(0) : `${+value.toPrecision(3)}`;

// A slider that says its value beside it.
function bindRange(input, words, changed) {
  const update = () => {
    input.setAttribute("aria-valuetext", words(+input.value));
    const output = input.parentElement.querySelector("output");
    if (output) output.textContent = words(+input.value);
    changed(+input.value);
  };
  input.addEventListener("input", update);
  return update;
}
