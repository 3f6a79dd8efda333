// One picture on the whole screen: wheel, pinch or keys change its size, dragging moves it, Escape closes.
const viewer = one("#viewer"), stage = one("#viewer-stage");
const seen = {zoom: 1, ratio: 1, content: null, face: null, back: null, list: [], place: 0};

function openViewer(list, place, back) {
  Object.assign(seen, {list, back});
  if (!viewer.open) viewer.showModal();
  showPlace(place);
}
function showPlace(place) {
  if (seen.face) faces.delete(seen.face);
  seen.face = null;
  seen.place = place;
  const {name, build} = seen.list[place];
  one("#viewer-name").textContent = name;
  seen.content = build();
  stage.replaceChildren(seen.content);
  for (const button of all("[data-move]", viewer)) button.disabled = !seen.list[place + +button.dataset.move];
  requestAnimationFrame(fit);
}
function fit() {
  seen.ratio = seen.width / seen.height;
  seen.zoom = Math.min(stage.clientWidth, stage.clientHeight * seen.ratio);
  sized(seen.zoom);
}
// Make the picture so wide; the point under (x, y) of the stage stays where it is.
function sized(width, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = seen.content.getBoundingClientRect(), around = stage.getBoundingClientRect();
  const at = [(x + around.left - before.left) / (before.width || 1), (y + around.top - before.top) / (before.height || 1)];
  seen.zoom = clamp(width, 80, 12000);
  seen.content.style.width = `${seen.zoom}px`;
  seen.content.style.height = `${seen.zoom / seen.ratio}px`;
  const after = seen.content.getBoundingClientRect();
  stage.scrollLeft += after.left + at[0] * after.width - around.left - x;
  stage.scrollTop += after.top + at[1] * after.height - around.top - y;
}

function openSheet(sheet, place, back) {
  const time = one("#viewer-time");
  time.hidden = !sheet.inputs;
  if (sheet.inputs) {
    const input = one("input", time), output = one("output", time);
    input.max = gallery.stops.length - 1;
    input.value = sheet.stop;
    output.textContent = stopName(sheet.stop);
    sheet.inputs.add(input);
    input.oninput = () => { setStop(sheet, +input.value); output.textContent = stopName(sheet.stop); };
    viewer.addEventListener("close", () => sheet.inputs.delete(input), {once: true});
  }
  openViewer(sheet.shown.map(([tile, note]) => ({
    name: [tile.name, note].filter(Boolean).join(" · "),
    build: () => {
      seen.face = face(tile, sheet, note);
      Object.assign(seen, {width: tile.w, height: tile.h});
      refresh(seen.face);
      return seen.face.stage;
    },
  })), place, back);
}

function buildViewer() {
  const pictures = all(".picture").map(button => ({
    name: button.dataset.name, button,
    build: () => {
      const image = one("img", button).cloneNode();
      Object.assign(seen, {width: +image.getAttribute("width"), height: +image.getAttribute("height")});
      image.draggable = false;
      return image;
    },
  }));
  pictures.forEach((picture, i) => picture.button.addEventListener("click", () => {
    one("#viewer-time").hidden = true;
    openViewer(pictures, i, picture.button);
  }));
  one("#viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => {
    if (seen.face) faces.delete(seen.face);
    seen.face = null;
    stage.replaceChildren();
    if (seen.back) seen.back.focus();
  });
  const zooms = {in: () => sized(seen.zoom * 1.4), out: () => sized(seen.zoom / 1.4), fit};
  for (const button of all("[data-zoom]", viewer)) button.addEventListener("click", zooms[button.dataset.zoom]);
  for (const button of all("[data-move]", viewer)) {
    button.addEventListener("click", () => showPlace(seen.place + +button.dataset.move));
  }
  viewer.addEventListener("keydown", event => {
    if (event.key === "+" || event.key === "=") zooms.in();
    else if (event.key === "-") zooms.out();
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const around = stage.getBoundingClientRect();
    sized(seen.zoom * Math.exp(-event.deltaY * .0016), event.clientX - around.left, event.clientY - around.top);
  }, {passive: false});
  buildPointers();
  addEventListener("resize", () => { if (viewer.open) fit(); });
}

// A mouse drags; two fingers pinch; one finger scrolls by itself.
function buildPointers() {
  const fingers = new Map();
  const apart = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y) || 1;
  };
  stage.addEventListener("pointerdown", event => {
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (event.pointerType === "mouse") {
      stage.classList.add("held");
      stage.setPointerCapture(event.pointerId);
    }
  });
  stage.addEventListener("pointermove", event => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const distance = fingers.size === 2 ? apart() : 0;
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()], around = stage.getBoundingClientRect();
      sized(seen.zoom * apart() / distance, (a.x + b.x) / 2 - around.left, (a.y + b.y) / 2 - around.top);
    } else if (event.pointerType === "mouse") {
      stage.scrollLeft -= event.clientX - before.x;
      stage.scrollTop -= event.clientY - before.y;
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, event => { fingers.delete(event.pointerId); stage.classList.remove("held"); });
  }
}
