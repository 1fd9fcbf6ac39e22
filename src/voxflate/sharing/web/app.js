// src/engine.js
async function unpack(id) {
  const element = document.getElementById(id);
  const text = element.textContent.trim();
  element.remove();
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function scriptAddress(bytes) {
  return URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
}
var Engine = class _Engine {
  /** @param description What the page says about the generator. @param tell Told what is being done. */
  static async start(description2, tell) {
    const engine2 = new _Engine();
    tell("Unpacking");
    const [script, wasm, synthesis, mapping] = await Promise.all([
      unpack("worker"),
      unpack("runtime"),
      unpack("synthesis"),
      document.getElementById("mapping") && unpack("mapping")
    ]);
    tell("Starting");
    engine2.waiting = /* @__PURE__ */ new Map();
    engine2.count = 0;
    engine2.worker = new Worker(scriptAddress(script));
    engine2.worker.onmessage = ({ data }) => {
      const { resolve, reject } = engine2.waiting.get(data.id);
      engine2.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    engine2.worker.onerror = (event) => {
      for (const { reject } of engine2.waiting.values()) reject(new Error(event.message || "the worker has stopped"));
      engine2.waiting.clear();
    };
    await engine2.ask("start", { description: description2, wasm: wasm.buffer, graphs: { synthesis, mapping } });
    return engine2;
  }
  ask(task, content) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, task, ...content });
    });
  }
  async code(subject2) {
    return (await this.ask("code", { subject: subject2 })).w;
  }
  /** A volume clipped to [-1, 1], as Python clips it. */
  async render(ws, subject2) {
    const { volume: volume2, milliseconds } = await this.ask("render", { ws, subject: subject2 });
    return { volume: volume2.map((value) => Math.min(1, Math.max(-1, value))), milliseconds };
  }
};

// src/nifti.js
var INT16 = 4;
var FLOAT32 = 16;
var DATATYPE = 70;
var BITS = 72;
function intensities(volume2, [low, high]) {
  return volume2.map((value) => low + (value + 1) * ((high - low) / 2));
}
function headerBytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
function joined(header, voxels2) {
  const file = new Uint8Array(header.length + voxels2.byteLength);
  file.set(header);
  file.set(new Uint8Array(voxels2.buffer, voxels2.byteOffset, voxels2.byteLength), header.length);
  return file;
}
function niftiFile(base64, values) {
  const header = headerBytes(base64);
  const whole = new DataView(header.buffer).getInt16(DATATYPE, true) === INT16;
  return joined(header, whole ? Int16Array.from(values, roundHalfEven) : values);
}
function displayFile(base64, values) {
  const header = headerBytes(base64), view = new DataView(header.buffer);
  view.setInt16(DATATYPE, FLOAT32, true);
  view.setInt16(BITS, 32, true);
  return joined(header, values);
}
function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
async function gzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}
function save(blob, name2) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name2;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
}

// src/viewers.js
var FAINT = 0.1;
var OPACITY = 0.75;
var LAYOUTS = { all: "Slices and 3D", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", volume: "3D" };
function hasWebGL() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}
var NiivueViewer = class _NiivueViewer {
  static layouts = ["all", "axial", "coronal", "sagittal", "volume"];
  static async open(root, description2) {
    const viewer2 = new _NiivueViewer();
    const address = scriptAddress(await unpack("niivue"));
    await new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: address, onload: resolve });
      script.onerror = () => reject(new Error("the viewer could not be started"));
      document.head.append(script);
    });
    viewer2.library = window.voxflateNiivue;
    viewer2.description = description2;
    viewer2.canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    viewer2.canvas.setAttribute("role", "img");
    viewer2.canvas.setAttribute("aria-label", "The volume: three slices and a rendering in 3D");
    const frame = Object.assign(document.createElement("div"), { className: "gl" });
    frame.append(viewer2.canvas);
    root.replaceChildren(frame);
    viewer2.niivue = new viewer2.library.Niivue({
      backColor: [0.035, 0.043, 0.055, 1],
      crosshairColor: [0.37, 0.83, 0.64, 0.75],
      crosshairWidth: 0.35,
      crosshairWidthUnit: "percent",
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "silent",
      multiplanarPadPixels: 6,
      multiplanarLayout: viewer2.library.MULTIPLANAR_TYPE.GRID,
      fontMinPx: 15,
      multiplanarShowRender: viewer2.library.SHOW_RENDER.ALWAYS,
      show3Dcrosshair: true,
      fontColor: [0.75, 0.8, 0.85, 1]
    });
    await viewer2.niivue.attachToCanvas(viewer2.canvas);
    viewer2.layout("all");
    return viewer2;
  }
  async image(values, options) {
    const bytes = displayFile(this.description.nifti_header, values);
    return this.library.NVImage.loadFromUrl({ url: "volume.nii", name: "volume.nii", buffer: bytes.buffer, ...options });
  }
  async show(base, overlay) {
    const nv = this.niivue, [low, high] = this.description.channels[0].intensity;
    if (!nv.volumes.length) {
      nv.addVolume(await this.image(base, { colormap: "gray", cal_min: low, cal_max: high }));
      nv.setOpacity(0, 1);
    }
    nv.volumes[0].img.set(base);
    if (overlay && nv.volumes.length < 2) {
      nv.addVolume(await this.image(overlay.values, { colormap: "warm", colormapNegative: "winter", opacity: OPACITY }));
    }
    if (nv.volumes.length > 1) {
      const [, over] = nv.volumes;
      if (overlay) {
        over.img.set(overlay.values);
        over.cal_min = overlay.limit * FAINT;
        over.cal_max = overlay.limit;
        over.cal_minNeg = -overlay.limit;
        over.cal_maxNeg = -overlay.limit * FAINT;
      }
      nv.setOpacity(1, overlay ? OPACITY : 0);
    }
    nv.updateGLVolume();
  }
  layout(name2) {
    const types = this.library.SLICE_TYPE;
    const type = {
      all: types.MULTIPLANAR,
      axial: types.AXIAL,
      coronal: types.CORONAL,
      sagittal: types.SAGITTAL,
      volume: types.RENDER
    };
    this.niivue.setSliceType(type[name2]);
  }
  shift(axis, step) {
    this.niivue.moveCrosshairInVox(...[2, 1, 0].map((one) => one === axis ? step : 0));
  }
};
var PLANES = {
  axial: { fixed: 0, down: 1, across: 2, edges: ["A", "P", "L", "R"] },
  coronal: { fixed: 1, down: 0, across: 2, edges: ["S", "I", "L", "R"] },
  sagittal: { fixed: 2, down: 0, across: 1, edges: ["S", "I", "P", "A"] }
};
var clamp = (value, low, high) => Math.min(high, Math.max(low, value));
var SliceViewer = class _SliceViewer {
  static layouts = ["all", "axial", "coronal", "sagittal"];
  static async open(root, description2) {
    const viewer2 = new _SliceViewer();
    viewer2.description = description2;
    viewer2.shape = description2.shape;
    viewer2.place = viewer2.shape.map((size) => size >> 1);
    viewer2.root = Object.assign(document.createElement("div"), { className: "planes" });
    root.replaceChildren(viewer2.root);
    viewer2.views = Object.entries(PLANES).map(([name2, plane]) => viewer2.view(name2, plane));
    return viewer2;
  }
  view(name2, plane) {
    const figure = document.createElement("figure");
    const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    canvas.dataset.plane = name2;
    canvas.setAttribute("role", "img");
    const label = document.createElement("figcaption");
    figure.append(canvas, label);
    this.root.append(figure);
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
      this.place[plane.across] = clamp(Math.floor(across * this.shape[plane.across]), 0, this.shape[plane.across] - 1);
      this.place[plane.down] = clamp(Math.floor((1 - down) * this.shape[plane.down]), 0, this.shape[plane.down] - 1);
      this.draw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) point(event);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.shift(plane.fixed, -Math.sign(event.deltaY));
    }, { passive: false });
    return { name: name2, plane, figure, canvas, label };
  }
  async show(base, overlay) {
    this.base = base;
    this.overlay = overlay;
    this.draw();
  }
  layout(name2) {
    for (const view of this.views) view.figure.hidden = name2 !== "all" && name2 !== view.name;
    this.root.classList.toggle("single", name2 !== "all");
  }
  shift(axis, step) {
    this.place[axis] = clamp(this.place[axis] + step, 0, this.shape[axis] - 1);
    this.draw();
  }
  draw() {
    if (this.base) for (const view of this.views) this.slice(view);
  }
  slice({ name: name2, plane, canvas, label }) {
    const { shape, place } = this, { spacing, channels } = this.description, [low, high] = channels[0].intensity;
    const strides = [shape[1] * shape[2], shape[2], 1];
    const rows = shape[plane.down], columns = shape[plane.across];
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.aspectRatio = `${columns * spacing[plane.across]} / ${rows * spacing[plane.down]}`;
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = place[plane.fixed] * strides[plane.fixed] + row * strides[plane.down] + column * strides[plane.across];
        const to = 4 * ((rows - 1 - row) * columns + column);
        const grey = clamp((this.base[from] - low) / (high - low) * 255, 0, 255);
        const cross = row === place[plane.down] || column === place[plane.across];
        image.data.set([...this.coloured(grey, from), 255], to);
        if (cross) image.data[to + 1] = Math.min(255, image.data[to + 1] + 28);
      }
    }
    context.putImageData(image, 0, 0);
    label.textContent = `${name2[0].toUpperCase()}${name2.slice(1)} ${place[plane.fixed] + 1} / ${shape[plane.fixed]}`;
    canvas.setAttribute("aria-label", `${label.textContent}; arrow keys move through the volume`);
  }
  /** Red, green and blue of a voxel with its overlay. */
  coloured(grey, index) {
    const value = this.overlay ? this.overlay.values[index] / this.overlay.limit : 0, size = Math.abs(value);
    if (size < FAINT) return [grey, grey, grey];
    const strength = Math.min(1, size), colour = value > 0 ? [255, 90 + 150 * strength, 0] : [0, 90 + 130 * strength, 255];
    const opacity = OPACITY * Math.min(1, 2 * strength);
    return colour.map((part) => grey * (1 - opacity) + part * opacity);
  }
};

// src/app.js
var find = (id) => document.getElementById(id);
var description = JSON.parse(find("description").textContent);
var LARGEST = 999999;
var SEED = 0;
var state = {
  first: 0,
  second: 1,
  psi: description.truncation,
  noise: description.has_noise,
  mode: "one",
  shown: "subject",
  levels: description.levels.map(() => false),
  // true where the second subject gives the features
  position: 0
};
var voxels = description.shape.reduce((a, b) => a * b);
var engine;
var viewer;
var average;
var volume;
var codes = /* @__PURE__ */ new Map();
var subject = (index) => ({ seed: SEED, index });
async function codeOf(index) {
  if (!codes.has(index)) codes.set(index, await engine.code(subject(index)));
  return codes.get(index);
}
async function styles() {
  const { num_ws: layers, w_dim: width, w_avg: mean, level_of_ws: levelOf } = description;
  const two = state.mode !== "one";
  const [first, second] = [await codeOf(state.first), two ? await codeOf(state.second) : null];
  const ws = new Float32Array(layers * width);
  for (let layer = 0; layer < layers; layer++) {
    let share = 0;
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
var running = null;
var wanted = false;
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
var expected = 1500;
async function compute() {
  const stop = working("Computing", expected);
  try {
    const began = performance.now();
    const { volume: found, milliseconds } = await engine.render(await styles(), state.noise ? subject(state.first) : null);
    volume = found;
    expected = performance.now() - began;
    await draw();
    say(`${name()} in ${(milliseconds / 1e3).toFixed(2)} s`);
  } finally {
    stop();
  }
}
function channel(values, number = 0) {
  const { intensity } = description.channels[number];
  return intensities(values.subarray(number * voxels, (number + 1) * voxels), intensity);
}
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
function working(text, milliseconds) {
  const bar = find("progress"), began = performance.now();
  let going = true;
  say(text);
  const move = () => {
    if (!going) return;
    bar.value = 0.95 * (1 - Math.exp(-2.5 * (performance.now() - began) / milliseconds));
    requestAnimationFrame(move);
  };
  move();
  return () => {
    going = false;
    bar.value = 1;
  };
}
function fail(error) {
  console.error(error);
  find("problem").textContent = `This did not work: ${error.message}. Reload the page, or open it in a current browser.`;
  find("problem").hidden = false;
  say("Stopped");
}
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
    row.querySelectorAll(".choice span").forEach((span, k) => {
      span.textContent = k ? state.second : state.first;
    });
  }
  find("python").textContent = python();
}
function python() {
  const { first, second, mode, position, noise } = state, psi = `truncation=${state.psi}`;
  const lines = ["import voxflate", "", `generator = voxflate.load(${JSON.stringify(description.folder)})`];
  const stages = state.levels.flatMap((taken, i) => taken ? [i] : []);
  if (mode === "one" && noise) lines.push(`scans = generator.sample(1, seed=${SEED}, first=${first}, ${psi})`);
  else if (mode === "mix" && noise) lines.push(`scans = generator.mix(${first}, ${second}, ${JSON.stringify(stages)}, ${psi})`);
  else {
    lines.push(`styles = generator.styles(1, first=${first}, ${psi})`);
    if (mode !== "one") lines.push(`other = generator.styles(1, first=${second}, ${psi})`);
    if (mode === "walk") lines.push(`styles = styles + ${position} * (other - styles)`);
    const layers = description.level_of_ws.flatMap((level, layer) => state.levels[level] ? [layer] : []);
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
var random = () => Math.floor(Math.random() * (LARGEST + 1));
var clamp2 = (value) => Math.min(LARGEST, Math.max(0, Math.round(Number(value)) || 0));
function listen() {
  const form = find("controls");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", ({ target }) => {
    const { new: fresh, of: which, step } = target.dataset;
    if (fresh) change({ [fresh]: random() });
    if (step) change({ [which]: clamp2(state[which] + Number(step)) });
  });
  for (const which of ["first", "second"]) {
    find(`${which}-number`).addEventListener("change", ({ target }) => change({ [which]: clamp2(target.value) }));
  }
  find("psi").addEventListener("input", ({ target }) => change({ psi: Number(target.value) / 100 }));
  find("position").addEventListener("input", ({ target }) => change({ position: Number(target.value) / 100 }));
  find("noise").addEventListener("change", ({ target }) => change({ noise: target.checked }));
  form.addEventListener("change", ({ target }) => {
    if (target.name === "mode") {
      stopPlaying();
      change({ mode: target.value });
    }
    if (target.name === "shown") change({ shown: target.value });
    if (target.name?.startsWith("level-")) {
      const levels = [...state.levels];
      levels[Number(target.name.slice(6))] = target.value === "second";
      change({ levels });
    }
  });
  find("play").addEventListener("click", () => playing ? stopPlaying() : play());
  find("download").addEventListener("click", download);
  find("view").addEventListener("keydown", moveByKey);
}
var KEYS = {
  ArrowLeft: [2, -1],
  ArrowRight: [2, 1],
  ArrowDown: [0, -1],
  ArrowUp: [0, 1],
  PageDown: [1, -1],
  PageUp: [1, 1]
};
function moveByKey(event) {
  if (!KEYS[event.key]) return;
  viewer.shift(...KEYS[event.key]);
  event.preventDefault();
}
var playing = false;
async function play() {
  playing = true;
  find("play").setAttribute("aria-pressed", "true");
  find("play").textContent = "Stop";
  let step = 0.05;
  while (playing) {
    if (state.position + step > 1.001 || state.position + step < -1e-3) step = -step;
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
async function download() {
  const shown = state.shown === "average" ? await averageVolume() : volume;
  save(await gzipped(niftiFile(description.nifti_header, channel(shown))), fileName());
  say(`Saved ${fileName()}`);
}
function segment(name2, value, text, checked) {
  const label = document.createElement("label"), span = document.createElement("span");
  label.append(Object.assign(document.createElement("input"), { type: "radio", name: name2, value, checked }), span);
  span.textContent = text;
  return label;
}
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
    Kind = SliceViewer;
    viewer = await Kind.open(find("view"), description);
  }
  for (const layout of Kind.layouts) {
    const text = layout === "all" && plain ? "Slices" : LAYOUTS[layout];
    find("layouts").append(segment("layout", layout, text, layout === "all"));
  }
  find("layouts").addEventListener("change", ({ target }) => viewer.layout(target.value));
}
async function main() {
  const stop = working("Unpacking", 3e3);
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
window.voxflate = {
  description,
  state,
  change,
  average: averageVolume,
  get volume() {
    return volume;
  },
  ready: main()
};
