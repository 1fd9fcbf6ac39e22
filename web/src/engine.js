// What the page carries, unpacked, and the worker that computes.

/** The bytes of an embedded block, decompressed. */
export async function unpack(id) {
  const element = document.getElementById(id);
  const text = element.textContent.trim();
  element.remove(); // frees its memory
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export function scriptAddress(bytes) {
  return URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
}

/** The generator. Its methods give promises; calls are answered in their order. */
export class Engine {
  /** @param description What the page says about the generator. @param tell Told what is being done. */
  static async start(description, tell) {
    const engine = new Engine();
    tell("Unpacking");
    const [script, wasm, synthesis, mapping] = await Promise.all([
      unpack("worker"), unpack("runtime"), unpack("synthesis"), document.getElementById("mapping") && unpack("mapping"),
    ]);
    tell("Starting");
    const images = description.channels.filter(({ kind }) => kind === "image").length;
    engine.imageValues = images * description.shape.reduce((a, b) => a * b);
    engine.waiting = new Map();
    engine.count = 0;
    engine.worker = new Worker(scriptAddress(script));
    engine.worker.onmessage = ({ data }) => {
      const { resolve, reject } = engine.waiting.get(data.id);
      engine.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    engine.worker.onerror = (event) => {
      for (const { reject } of engine.waiting.values()) reject(new Error(event.message || "the worker has stopped"));
      engine.waiting.clear();
    };
    await engine.ask("start", { description, wasm: wasm.buffer, graphs: { synthesis, mapping } });
    return engine;
  }

  ask(task, content) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, task, ...content });
    });
  }

  /** @param labels The label vector; empty where the generator knows none. */
  async code(subject, labels) {
    return (await this.ask("code", { subject, labels })).w;
  }

  /** A volume of all channels. Images are clipped to [-1, 1] and masks are not, as in Python. */
  async render(ws, subject) {
    const { volume, milliseconds } = await this.ask("render", { ws, subject });
    const images = volume.subarray(0, this.imageValues);
    images.set(images.map((value) => Math.min(1, Math.max(-1, value))));
    return { volume, milliseconds };
  }
}
