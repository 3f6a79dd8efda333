// The sheets: images with boxes at every number of steps, and where the neurons fired.
const gallery = data.gallery;
const view = {score: gallery ? gallery.score : 0, layer: -1};
const faces = new Set();  // everything that shows a tile: {stage, image, caption, tile, note, sheet}

function face(tile, sheet, note) {
  const image = make("img", {width: tile.w, height: tile.h, draggable: "false"});
  const stage = make("span", {class: Math.max(tile.w, tile.h) < 400 ? "stage small" : "stage"}, image);
  stage.style.aspectRatio = `${tile.w} / ${tile.h}`;
  const made = {stage, image, tile, sheet, note};
  faces.add(made);
  return made;
}

function refresh(face) {
  const {tile, sheet, stage, image} = face;
  const stop = clamp(sheet.stop, 0, tile.found.length - 1);
  const picture = tile.pictures[Math.min(stop, tile.pictures.length - 1)];
  if (image.getAttribute("src") !== picture) image.src = picture;
  const shown = {w: tile.w, h: tile.h, classes: gallery.classes};
  const parts = [image];
  if (view.layer >= 0 && tile.heat) parts.push(heat(tile, Math.min(stop, tile.columns - 1)));
  stage.replaceChildren(...parts, ...boxes(shown, tile.found[stop], tile.truth, view.score));
  const count = tile.found[stop].filter(row => row[5] >= view.score).length;
  const words = `${count} found, ${tile.truth.filter(row => !row[5]).length} true`;
  image.alt = `${tile.name}${gallery.stops.length > 1 ? `, ${stopName(stop)}` : ""}: ${words}`;
  if (face.caption) face.caption.textContent = [tile.name, face.note, words].filter(Boolean).join(" · ");
}

function heat(tile, stop) {
  const rows = gallery.layers.length, part = (i, n) => n > 1 ? `${i / (n - 1) * 100}%` : "0";
  const layer = make("span", {class: "heat"});
  layer.style.backgroundImage = `url("${tile.heat}")`;
  layer.style.backgroundSize = `${tile.columns * 100}% ${rows * 100}%`;
  layer.style.backgroundPosition = `${part(stop, tile.columns)} ${part(view.layer, rows)}`;
  return layer;
}

const stopName = i => /^\d+$/.test(gallery.stops[i]) ? `T = ${gallery.stops[i]}` : gallery.stops[i];
const lastStop = () => gallery.stops.findLastIndex(stop => /^\d+$/.test(stop));  // an ANN comes after it
const refreshAll = () => faces.forEach(refresh);

function buildSheets() {
  if (!gallery) return;
  for (const sheet of gallery.sheets) {
    sheet.stop = lastStop();
    const title = `${sheet.key}-title`;
    const section = make("section", {id: sheet.key, class: "panel sheet", "aria-labelledby": title},
      make("h2", {id: title, text: sheet.title}), make("p", {class: "note", text: sheet.note}));
    if (gallery.stops.length > 1) section.append(timeBar(sheet));
    const tiles = make("div", {class: "tiles"});
    sheet.shown = sheet.tiles.map(([key, note]) => [gallery.tiles[key], note]);
    sheet.shown.forEach(([tile, note], i) => {
      const made = face(tile, sheet, note);
      made.caption = make("figcaption");
      const open = make("button", {type: "button", class: "open", "aria-label": `Enlarge ${tile.name}`}, made.stage);
      open.addEventListener("click", () => openSheet(sheet, i, open));
      tiles.append(make("figure", {class: "tile"}, open, made.caption));
    });
    section.append(tiles);
    one("#sheets").append(section);
  }
  layerChoice();
}

// Steps of time, and a button that lets them pass.
function timeBar(sheet) {
  const last = gallery.stops.length - 1;
  const input = make("input", {type: "range", min: 0, max: last, step: 1, value: sheet.stop, "aria-label": `Time steps, ${sheet.title}`});
  const output = make("output"), play = make("button", {type: "button", class: "think", text: "Watch it think"});
  sheet.inputs = new Set([input]);
  let timer = 0;
  const stopPlaying = () => { clearInterval(timer); timer = 0; play.textContent = "Watch it think"; };
  input.addEventListener("input", () => { stopPlaying(); setStop(sheet, +input.value); });
  play.addEventListener("click", () => {
    if (timer) return stopPlaying();
    setStop(sheet, 0);
    play.textContent = "Stop";
    timer = setInterval(() => sheet.stop < last ? setStop(sheet, sheet.stop + 1) : stopPlaying(), 800);
  });
  const bar = make("div", {class: "bar time"}, make("label", {}, "Steps ", input, " ", output), play);
  sheet.say = () => { output.textContent = stopName(sheet.stop); };
  sheet.say();
  input.setAttribute("aria-valuetext", stopName(sheet.stop));
  return bar;
}

function setStop(sheet, stop) {
  sheet.stop = stop;
  for (const input of sheet.inputs) {
    input.value = stop;
    input.setAttribute("aria-valuetext", stopName(stop));
  }
  sheet.say();
  faces.forEach(face => { if (face.sheet === sheet) refresh(face); });
}

function layerChoice() {
  if (!gallery.layers.length) return;
  const select = one("#layer"), scale = one(".scale");
  one("#layer-label").hidden = false;
  select.append(make("option", {value: -1, text: "nothing"}),
    ...gallery.layers.map((layer, i) => make("option", {value: i, text: layer.name})));
  select.addEventListener("change", () => {
    view.layer = +select.value;
    scale.hidden = view.layer < 0;
    if (view.layer >= 0) {
      one(".scale-words").textContent = `0 to ${short(gallery.layers[view.layer].most)} spikes per neuron and step, mean up to T`;
    }
    refreshAll();
  });
}
