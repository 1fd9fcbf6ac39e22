// Computes volumes away from the page, so that the page stays responsive.
// Messages in: {id, task: "start" | "code" | "render", ...}; out: {id, ...result} or {id, error}.

import * as ort from "onnxruntime-web/wasm";
import { Random } from "./random.js";

let about, mapping, synthesis;
const subjects = new Map(); // "seed/index" -> {z, noise}
const KEPT = 4;

async function start({ description, wasm, graphs }) {
  about = description;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // more need response headers, which a file has not
  const options = { executionProviders: ["wasm"] };
  if (graphs.mapping) mapping = await ort.InferenceSession.create(graphs.mapping, options);
  synthesis = await ort.InferenceSession.create(graphs.synthesis, options);
  return {};
}

/** The numbers that make a subject what it is, in the order in which Python draws them. */
function subject({ seed, index }) {
  const key = `${seed}/${index}`;
  if (!subjects.has(key)) {
    const random = new Random(seed, index);
    const z = random.normals(about.z_dim);
    if (about.noise_shapes.length) random.integer(about.shape[0]); // a slice, which only 2D twins use
    const noise = about.noise_shapes.map((shape) => random.normals(shape.reduce((a, b) => a * b)));
    subjects.set(key, { z, noise });
    if (subjects.size > KEPT) subjects.delete(subjects.keys().next().value);
  }
  return subjects.get(key);
}

/** The style code of a subject with a label vector, before truncation. */
async function code(message) {
  const { z } = subject(message.subject);
  if (!mapping) return { w: z };
  const feeds = { z: new ort.Tensor("float32", z, [1, about.z_dim]) };
  if (about.label_width) feeds.labels = new ort.Tensor("float32", message.labels, [1, about.label_width]);
  const found = await mapping.run(feeds);
  return { w: found.w.data.slice() };
}

/** The volume of style codes, [channels, D, H, W]; without a subject there is no noise. */
async function render({ ws, subject: noisy }) {
  const feeds = { ws: new ort.Tensor("float32", ws, [1, about.num_ws, about.w_dim]) };
  const noise = noisy && subject(noisy).noise;
  about.noise_shapes.forEach((shape, i) => {
    const values = noise ? noise[i] : new Float32Array(shape.reduce((a, b) => a * b));
    feeds[`noise_${i}`] = new ort.Tensor("float32", values, [1, ...shape]);
  });
  const before = performance.now();
  const { volume } = await synthesis.run(feeds);
  return { volume: volume.data.slice(), milliseconds: performance.now() - before };
}

const TASKS = { start, code, render };
let last = Promise.resolve();

self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const result = await TASKS[data.task](data);
      self.postMessage({ id: data.id, ...result });
    } catch (error) {
      self.postMessage({ id: data.id, error: String(error?.message ?? error) });
    }
  });
};
