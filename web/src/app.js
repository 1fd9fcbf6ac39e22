// The page: from its controls to a volume in the viewer.

import { Engine } from "./engine.js";
import { encoded, firstValues, labelControls } from "./labels.js";
import { classesOf, maskChannels, sourceValues } from "./masks.js";
import { gzipped, intensities, niftiFile, save } from "./nifti.js";
import { say, working } from "./progress.js";
import { python, SEED, stem, word } from "./texts.js";
import { hasWebGL, LAYOUTS, NiivueViewer, SliceViewer } from "./viewers.js";

const find = (id) => document.getElementById(id);
const description = JSON.parse(find("description").textContent);
const LARGEST = 999999;

const state = {
  first: 0, second: 1, psi: description.truncation, noise: description.has_noise, mode: "one", shown: "subject",
  levels: description.levels.map(() => false), // true where the second subject gives the features
  position: 0, labels: firstValues(description.labels), channel: 0, mask: true,
};
const voxels = description.shape.reduce((a, b) => a * b);
const images = description.channels.filter(({ kind }) => kind === "image"), masks = maskChannels(description);
let starting, engine, viewer; // `starting` ends when both are there
let average, volume; // as the network gives them, one channel after the other
let showLabels = () => {}; // brings the labels' controls in line
const codes = new Map(); // number of a subject and its labels -> style code, before truncation
const KEPT = 16;

const subject = (index) => ({ seed: SEED, index });

async function codeOf(index, values) {
  const labels = encoded(description.labels, values), key = `${index}/${labels}`;
  if (!codes.has(key)) {
    codes.set(key, await engine.code(subject(index), labels));
    if (codes.size > KEPT) codes.delete(codes.keys().next().value);
  }
  return codes.get(key);
}

/** The style codes of all layers, [num_ws, w_dim]. */
async function styles({ first: one, second: other, mode, psi, levels, position, labels }) {
  const { num_ws: layers, w_dim: width, w_avg: mean, level_of_ws: levelOf } = description;
  const [first, second] = [await codeOf(one, labels), mode === "one" ? null : await codeOf(other, labels)];
  const ws = new Float32Array(layers * width);
  for (let layer = 0; layer < layers; layer++) {
    let share = 0; // of the second subject
    if (mode === "mix") share = levels[levelOf[layer]] ? 1 : 0;
    if (mode === "walk") share = position;
    for (let i = 0; i < width; i++) {
      const w = share ? first[i] + share * (second[i] - first[i]) : first[i];
      ws[layer * width + i] = mean[i] + psi * (w - mean[i]);
    }
  }
  return ws;
}

async function averageVolume() {
  if (!average) {
    const { num_ws: layers, w_avg: mean } = description;
    const ws = Float32Array.from({ length: layers * mean.length }, (_, i) => mean[i % mean.length]);
    average = (await engine.render(ws, null)).volume;
  }
  return average;
}

// One volume is computed at a time; what was asked for meanwhile is computed after it, but only the newest.
let running = null, wanted = false;

function update() {
  wanted = true;
  running ??= (async () => {
    try {
      while (wanted) {
        wanted = false;
        await compute();
      }
    } catch (error) {
      fail(error);
    } finally {
      running = null;
    }
  })();
  return running;
}

let expected = 1500; // milliseconds that a volume takes here

async function compute() {
  await starting;
  const stop = working("Computing", expected);
  try {
    const asked = structuredClone(state); // the controls can change while it is computed
    await makeVolume(asked);
    await draw(asked);
    find("problem").hidden = true;
    say(asked.shown === "average" ? "Average" : `${name(asked)} in ${seconds.toFixed(2)} s`);
  } finally {
    stop();
  }
}

let made = "", seconds = 0; // of the volume

/** Compute the volume, unless what has changed is only how it is shown. */
async function makeVolume(asked) {
  const key = JSON.stringify({ ...asked, shown: null, channel: null, mask: null });
  if (key === made) return;
  const began = performance.now();
  const { volume: found, milliseconds } = await engine.render(await styles(asked), asked.noise ? subject(asked.first) : null);
  [volume, made, seconds] = [found, key, milliseconds / 1000];
  expected = performance.now() - began;
}

/** An image channel, in the units of the data. */
function channel(values, number) {
  const { intensity } = description.channels[number];
  return intensities(values.subarray(number * voxels, (number + 1) * voxels), intensity);
}

let drawn; // what the viewer shows, and the state of the controls that it was made of

/** Show what is chosen: the subject, the average, or what makes them differ. */
async function draw(asked) {
  const values = asked.shown === "average" ? await averageVolume() : volume;
  const base = channel(values, asked.channel), range = description.channels[asked.channel].intensity;
  let overlay = null;
  if (asked.shown === "difference") {
    const mean = channel(await averageVolume(), asked.channel);
    overlay = { values: base.map((value, i) => value - mean[i]), limit: (range[1] - range[0]) / 2 };
  }
  const mask = masks.length && asked.mask && !overlay ? classesOf(values, description.channels, voxels) : null;
  await viewer.show({ base, range, overlay, mask });
  drawn = { values, asked };
  for (const button of ["download", "download-mask"]) find(button).disabled = false;
}

function name({ mode, first, second, position }) {
  if (mode === "mix") return `Mix of subjects ${first} and ${second}`;
  if (mode === "walk") return `${Math.round(100 * position)}% of the way from subject ${first} to ${second}`;
  return `Subject ${first}`;
}

function fail(error) {
  stopPlaying();
  console.error(error);
  find("problem").textContent = `This did not work: ${error.message}. Reload the page, or open it in a current browser.`;
  find("problem").hidden = false;
  say("Stopped");
}

/** Bring the controls in line with the state. */
function reflect() {
  for (const which of ["first", "second"]) {
    const input = find(`${which}-number`);
    if (input !== document.activeElement) input.value = state[which]; // somebody may be typing into it
  }
  find("psi").value = Math.round(100 * state.psi);
  find("psi-value").textContent = `${Math.round(100 * state.psi)}%`;
  find("position").value = Math.round(100 * state.position);
  find("position-value").textContent = `${Math.round(100 * state.position)}%`;
  find("from").textContent = `subject ${state.first}`;
  find("to").textContent = `subject ${state.second}`;
  document.querySelector(`[name=mode][value=${state.mode}]`).checked = true;
  document.querySelector(`[name=shown][value=${state.shown}]`).checked = true;
  find("noise").checked = state.noise;
  find("two").hidden = state.mode === "one";
  find("mix").hidden = state.mode !== "mix";
  find("walk").hidden = state.mode !== "walk";
  find("shown-hint").hidden = state.shown !== "difference";
  for (const [i, row] of [...find("levels").children].entries()) {
    const [first, second] = row.querySelectorAll("input");
    (state.levels[i] ? second : first).checked = true;
    row.querySelectorAll(".choice span").forEach((span, k) => { span.textContent = k ? state.second : state.first; });
  }
  if (images.length > 1) document.querySelector(`[name=channel][value="${state.channel}"]`).checked = true;
  find("mask").checked = state.mask;
  find("classes").hidden = !state.mask;
  find("masks").hidden = !masks.length || state.shown === "difference";
  showLabels(state.labels);
  find("python").textContent = python(state, description);
}

function change(values) {
  Object.assign(state, values);
  reflect();
  return update();
}

const random = () => Math.floor(Math.random() * (LARGEST + 1));
const clamp = (value) => Math.min(LARGEST, Math.max(0, Math.round(Number(value)) || 0));

function listen() {
  const form = find("controls");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", ({ target }) => {
    const { new: fresh, of: which, step } = target.dataset;
    if (fresh) change({ [fresh]: random() });
    if (step) change({ [which]: clamp(state[which] + Number(step)) });
  });
  for (const which of ["first", "second"]) {
    find(`${which}-number`).addEventListener("change", ({ target }) => {
      target.value = clamp(target.value);
      change({ [which]: Number(target.value) });
    });
  }
  find("psi").addEventListener("input", ({ target }) => change({ psi: Number(target.value) / 100 }));
  find("position").addEventListener("input", ({ target }) => change({ position: Number(target.value) / 100 }));
  find("mask").addEventListener("change", ({ target }) => change({ mask: target.checked }));
  find("noise").addEventListener("change", ({ target }) => change({ noise: target.checked }));
  form.addEventListener("change", ({ target }) => {
    if (target.name === "mode") { stopPlaying(); change({ mode: target.value }); }
    if (target.name === "shown") change({ shown: target.value });
    if (target.name === "channel") change({ channel: Number(target.value) });
    if (target.name?.startsWith("level-")) {
      const levels = [...state.levels];
      levels[Number(target.name.slice(6))] = target.value === "second";
      change({ levels });
    }
  });
  find("play").addEventListener("click", () => (walk ? stopPlaying() : play()));
  find("download").addEventListener("click", download);
  find("download-mask").addEventListener("click", downloadMask);
  find("view").addEventListener("keydown", moveByKey);
}

const KEYS = {
  ArrowLeft: [2, -1], ArrowRight: [2, 1], ArrowDown: [0, -1], ArrowUp: [0, 1], PageDown: [1, -1], PageUp: [1, 1],
};

function moveByKey(event) {
  if (!KEYS[event.key] || !viewer) return;
  viewer.shift(...KEYS[event.key]);
  event.preventDefault();
}

let walk = null; // the one that plays: stopped and started within a computation, the old one must end

/** Walk to the other subject and back, as fast as volumes are computed. */
async function play() {
  walk = {};
  const mine = walk;
  find("play").setAttribute("aria-pressed", "true");
  find("play").textContent = "Stop";
  let step = 0.05;
  while (walk === mine) {
    if (state.position + step > 1.001 || state.position + step < -0.001) step = -step;
    await change({ position: Math.round(100 * (state.position + step)) / 100 });
  }
}

function stopPlaying() {
  walk = null;
  find("play").setAttribute("aria-pressed", "false");
  find("play").textContent = "Play";
}

/** The file that Python writes for the image shown. */
async function download() {
  await running; // what was asked for last
  const { values, asked } = drawn, tag = images.length > 1 ? `_${word(images[asked.channel].name)}` : "";
  await saved(niftiFile(description.nifti_header, channel(values, asked.channel)), asked, tag);
}

/** The file that Python writes for its mask. */
async function downloadMask() {
  await running;
  const { values, asked } = drawn, classes = classesOf(values, description.channels, voxels);
  await saved(niftiFile(description.mask_header, sourceValues(classes, description)), asked, "_seg");
}

async function saved(file, asked, tag) {
  const name = `${stem(asked, description)}${tag}.nii.gz`;
  save(await gzipped(file), name);
  say(`Saved ${name}`);
}

function segment(name, value, text, checked) {
  const label = document.createElement("label"), span = document.createElement("span");
  label.append(Object.assign(document.createElement("input"), { type: "radio", name, value, checked }), span);
  span.textContent = text;
  return label;
}

/** Controls of labels, modalities and masks, where there are some. */
function buildChannels() {
  find("labels").hidden = !description.labels.length;
  showLabels = labelControls(find("label-list"), description.labels, (name, value) => change({ labels: { ...state.labels, [name]: value } }));
  find("channels").hidden = images.length < 2;
  images.forEach(({ name }, i) => find("channels").append(segment("channel", i, name, !i)));
  find("download-mask").hidden = !masks.length;
  for (const { name, colour } of masks) {
    const item = document.createElement("li"), mark = document.createElement("span");
    mark.style.background = colour;
    item.append(mark, name);
    find("classes").append(item);
  }
}

/** Controls that depend on the generator. */
function build() {
  buildChannels();
  find("noise-row").hidden = !description.has_noise;
  find("mix-choice").hidden = description.levels.length < 2;
  description.levels.forEach((level, i) => {
    const row = Object.assign(document.createElement("div"), { className: "level" });
    const text = document.createElement("span"), choice = Object.assign(document.createElement("div"), { className: "choice" });
    const hint = i === 0 ? " coarsest" : i === description.levels.length - 1 ? " finest" : "";
    text.append(level, Object.assign(document.createElement("small"), { textContent: hint }));
    choice.setAttribute("role", "radiogroup");
    choice.setAttribute("aria-label", `Features at ${level} voxels`);
    choice.append(segment(`level-${i}`, "first", "", true), segment(`level-${i}`, "second", "", false));
    row.append(text, choice);
    find("levels").append(row);
  });
}

async function openViewer() {
  const plain = location.hash === "#slices" || !hasWebGL();
  let Kind = plain ? SliceViewer : NiivueViewer;
  try {
    viewer = await Kind.open(find("view"), description);
  } catch (error) {
    if (plain) throw error;
    Kind = SliceViewer; // a browser may promise WebGL and fail
    viewer = await Kind.open(find("view"), description);
  }
  for (const layout of Kind.layouts) {
    const text = layout === "all" && Kind === SliceViewer ? "Slices" : LAYOUTS[layout];
    find("layouts").append(segment("layout", layout, text, layout === "all"));
  }
  find("layouts").addEventListener("change", ({ target }) => viewer.layout(target.value));
}

async function start() {
  const stop = working("Unpacking", 3000);
  try {
    [engine] = await Promise.all([Engine.start(description, say), openViewer()]);
  } finally {
    stop();
  }
}

async function main() {
  try {
    build();
    reflect();
    listen();
    starting = start();
    await update();
  } catch (error) {
    fail(error);
  }
}

// For tests, and for the curious at the console.
window.voxflate = {
  description, state, change, average: averageVolume, get volume() { return volume; },
  get mask() { return sourceValues(classesOf(volume, description.channels, voxels), description); }, ready: main(),
};
