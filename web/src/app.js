// The page: from its controls to a volume in the viewer.

import { Engine } from "./engine.js";
import { gzipped, intensities, niftiFile, save } from "./nifti.js";
import { hasWebGL, LAYOUTS, NiivueViewer, SliceViewer } from "./viewers.js";

const find = (id) => document.getElementById(id);
const description = JSON.parse(find("description").textContent);
const LARGEST = 999999;
const SEED = 0;

const state = {
  first: 0, second: 1, psi: description.truncation, noise: description.has_noise, mode: "one", shown: "subject",
  levels: description.levels.map(() => false), // true where the second subject gives the features
  position: 0,
};
const voxels = description.shape.reduce((a, b) => a * b);
let engine, viewer, average, volume; // volumes as the network gives them, one channel after the other
const codes = new Map(); // number of a subject -> style code, before truncation

const subject = (index) => ({ seed: SEED, index });

async function codeOf(index) {
  if (!codes.has(index)) codes.set(index, await engine.code(subject(index)));
  return codes.get(index);
}

/** The style codes of all layers, [num_ws, w_dim]. */
async function styles() {
  const { num_ws: layers, w_dim: width, w_avg: mean, level_of_ws: levelOf } = description;
  const two = state.mode !== "one";
  const [first, second] = [await codeOf(state.first), two ? await codeOf(state.second) : null];
  const ws = new Float32Array(layers * width);
  for (let layer = 0; layer < layers; layer++) {
    let share = 0; // of the second subject
    if (state.mode === "mix") share = state.levels[levelOf[layer]] ? 1 : 0;
    if (state.mode === "walk") share = state.position;
    for (let i = 0; i < width; i++) {
      const w = share ? first[i] + share * (second[i] - first[i]) : first[i];
      ws[layer * width + i] = mean[i] + state.psi * (w - mean[i]);
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
  const stop = working("Computing", expected);
  try {
    const began = performance.now();
    const { volume: found, milliseconds } = await engine.render(await styles(), state.noise ? subject(state.first) : null);
    volume = found;
    expected = performance.now() - began;
    await draw();
    say(`${name()} in ${(milliseconds / 1000).toFixed(2)} s`);
  } finally {
    stop();
  }
}

/** A channel of a volume in the units of the data. Channel 0 is the image. */
function channel(values, number = 0) {
  const { intensity } = description.channels[number];
  return intensities(values.subarray(number * voxels, (number + 1) * voxels), intensity);
}

/** Show what is chosen: the subject, the average, or what makes them differ. */
async function draw() {
  const image = channel(state.shown === "average" ? await averageVolume() : volume);
  let overlay = null;
  if (state.shown === "difference") {
    const mean = channel(await averageVolume()), [low, high] = description.channels[0].intensity;
    overlay = { values: image.map((value, i) => value - mean[i]), limit: (high - low) / 2 };
  }
  await viewer.show(image, overlay);
  find("download").disabled = false;
}

function name() {
  if (state.mode === "mix") return `Mix of subjects ${state.first} and ${state.second}`;
  if (state.mode === "walk") return `${Math.round(100 * state.position)}% of the way from subject ${state.first} to ${state.second}`;
  return `Subject ${state.first}`;
}

function say(text) {
  find("status").textContent = text;
}

/** Move the bar as far as the last volume's time says; gives the function that ends it. */
function working(text, milliseconds) {
  const bar = find("progress"), began = performance.now();
  let going = true;
  say(text);
  const move = () => {
    if (!going) return;
    bar.value = 0.95 * (1 - Math.exp((-2.5 * (performance.now() - began)) / milliseconds));
    requestAnimationFrame(move);
  };
  move();
  return () => { going = false; bar.value = 1; };
}

function fail(error) {
  console.error(error);
  find("problem").textContent = `This did not work: ${error.message}. Reload the page, or open it in a current browser.`;
  find("problem").hidden = false;
  say("Stopped");
}

/** Bring the controls in line with the state. */
function reflect() {
  for (const which of ["first", "second"]) find(`${which}-number`).value = state[which];
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
  find("python").textContent = python();
}

/** What makes the volume shown in Python. */
function python() {
  const { first, second, mode, position, noise } = state, psi = `truncation=${state.psi}`;
  const lines = ["import voxflate", "", `generator = voxflate.load(${JSON.stringify(description.folder)})`];
  const stages = state.levels.flatMap((taken, i) => (taken ? [i] : []));
  if (mode === "one" && noise) lines.push(`scans = generator.sample(1, seed=${SEED}, first=${first}, ${psi})`);
  else if (mode === "mix" && noise) lines.push(`scans = generator.mix(${first}, ${second}, ${JSON.stringify(stages)}, ${psi})`);
  else {
    lines.push(`styles = generator.styles(1, first=${first}, ${psi})`);
    if (mode !== "one") lines.push(`other = generator.styles(1, first=${second}, ${psi})`);
    if (mode === "walk") lines.push(`styles = styles + ${position} * (other - styles)`);
    const layers = description.level_of_ws.flatMap((level, layer) => (state.levels[level] ? [layer] : []));
    if (mode === "mix") lines.push(`styles[:, ${JSON.stringify(layers)}] = other[:, ${JSON.stringify(layers)}]`);
    lines.push(`scans = generator.render(styles${noise ? `, subject=${first}` : ""})`);
  }
  return [...lines, `scans.save(${JSON.stringify(fileName())})`].join("\n");
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
    find(`${which}-number`).addEventListener("change", ({ target }) => change({ [which]: clamp(target.value) }));
  }
  find("psi").addEventListener("input", ({ target }) => change({ psi: Number(target.value) / 100 }));
  find("position").addEventListener("input", ({ target }) => change({ position: Number(target.value) / 100 }));
  find("noise").addEventListener("change", ({ target }) => change({ noise: target.checked }));
  form.addEventListener("change", ({ target }) => {
    if (target.name === "mode") { stopPlaying(); change({ mode: target.value }); }
    if (target.name === "shown") change({ shown: target.value });
    if (target.name?.startsWith("level-")) {
      const levels = [...state.levels];
      levels[Number(target.name.slice(6))] = target.value === "second";
      change({ levels });
    }
  });
  find("play").addEventListener("click", () => (playing ? stopPlaying() : play()));
  find("download").addEventListener("click", download);
  find("view").addEventListener("keydown", moveByKey);
}

const KEYS = {
  ArrowLeft: [2, -1], ArrowRight: [2, 1], ArrowDown: [0, -1], ArrowUp: [0, 1], PageDown: [1, -1], PageUp: [1, 1],
};

function moveByKey(event) {
  if (!KEYS[event.key]) return;
  viewer.shift(...KEYS[event.key]);
  event.preventDefault();
}

let playing = false;

/** Walk to the other subject and back, as fast as volumes are computed. */
async function play() {
  playing = true;
  find("play").setAttribute("aria-pressed", "true");
  find("play").textContent = "Stop";
  let step = 0.05;
  while (playing) {
    if (state.position + step > 1.001 || state.position + step < -0.001) step = -step;
    await change({ position: Math.round(100 * (state.position + step)) / 100 });
  }
}

function stopPlaying() {
  playing = false;
  find("play").setAttribute("aria-pressed", "false");
  find("play").textContent = "Play";
}

function fileName() {
  const { first, second, mode, psi } = state;
  const who = { one: `subject-${first}`, mix: `mix-${first}-${second}`, walk: `walk-${first}-${second}-${Math.round(100 * state.position)}` };
  return state.shown === "average" ? "average.nii.gz" : `${who[mode]}-variety-${Math.round(100 * psi)}.nii.gz`;
}

/** The file that Python writes for the volume shown. */
async function download() {
  const shown = state.shown === "average" ? await averageVolume() : volume;
  save(await gzipped(niftiFile(description.nifti_header, channel(shown))), fileName());
  say(`Saved ${fileName()}`);
}

function segment(name, value, text, checked) {
  const label = document.createElement("label"), span = document.createElement("span");
  label.append(Object.assign(document.createElement("input"), { type: "radio", name, value, checked }), span);
  span.textContent = text;
  return label;
}

/** Controls that depend on the generator. */
function build() {
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
    const text = layout === "all" && plain ? "Slices" : LAYOUTS[layout];
    find("layouts").append(segment("layout", layout, text, layout === "all"));
  }
  find("layouts").addEventListener("change", ({ target }) => viewer.layout(target.value));
}

async function main() {
  const stop = working("Unpacking", 3000);
  try {
    build();
    reflect();
    listen();
    [engine] = await Promise.all([Engine.start(description, say), openViewer()]);
    stop();
    await update();
  } catch (error) {
    stop();
    fail(error);
  }
}

// For tests, and for the curious at the console.
window.voxflate = {
  description, state, change, average: averageVolume, get volume() { return volume; }, ready: main(),
};
