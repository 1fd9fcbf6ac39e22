// Two viewers with one interface: `show({base, range, overlay, mask})`, `layout(name)`, `shift(axis, step)`.
// `base` is a channel's values in its units, `range` those of black and white; `overlay` is null, or {values, limit}:
// positive values up to the limit are drawn in warm colours, negative ones in cold colours, small ones not at all.
// `mask` is null, or a class number per voxel. Values lie as [D, H, W] = (up, front, right).

import { scriptAddress, unpack } from "./engine.js";
import { coloursOf, OPACITY as MASK_OPACITY } from "./masks.js";
import { displayFile } from "./nifti.js";

const FAINT = 0.1; // share of the limit below which an overlay is not drawn
const OPACITY = 0.75;

export const LAYOUTS = { all: "Slices and 3D", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", volume: "3D" };

export function hasWebGL() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

/** NiiVue: slices and a rendering in 3D. */
export class NiivueViewer {
  static layouts = ["all", "axial", "coronal", "sagittal", "volume"];

  static async open(root, description) {
    const viewer = new NiivueViewer();
    const address = scriptAddress(await unpack("niivue"));
    await new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: address, onload: resolve });
      script.onerror = () => reject(new Error("the viewer could not be started"));
      document.head.append(script);
    });
    viewer.library = window.voxflateNiivue;
    viewer.description = description;
    viewer.canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    viewer.canvas.setAttribute("role", "img");
    viewer.canvas.setAttribute("aria-label", "The volume: three slices and a rendering in 3D");
    const frame = Object.assign(document.createElement("div"), { className: "gl" });
    frame.append(viewer.canvas);
    root.replaceChildren(frame);
    viewer.niivue = new viewer.library.Niivue({
      backColor: [0.035, 0.043, 0.055, 1], crosshairColor: [0.37, 0.83, 0.64, 0.75], crosshairWidth: 0.35, crosshairWidthUnit: "percent",
      dragAndDropEnabled: false, loadingText: "", logLevel: "silent", multiplanarPadPixels: 6,
      multiplanarLayout: viewer.library.MULTIPLANAR_TYPE.GRID, fontMinPx: 15,
      multiplanarShowRender: viewer.library.SHOW_RENDER.ALWAYS, show3Dcrosshair: true, fontColor: [0.75, 0.8, 0.85, 1],
    });
    await viewer.niivue.attachToCanvas(viewer.canvas);
    viewer.layout("all");
    return viewer;
  }

  async image(values, options) {
    const bytes = displayFile(this.description.nifti_header, values);
    return this.library.NVImage.loadFromUrl({ url: "volume.nii", name: "volume.nii", buffer: bytes.buffer, ...options });
  }

  async show({ base, range, overlay, mask }) {
    const nv = this.niivue;
    if (!this.base) {
      this.base = await this.image(base, { colormap: "gray" });
      nv.addVolume(this.base);
      nv.setOpacity(0, 1);
    }
    this.base.img.set(base);
    [this.base.cal_min, this.base.cal_max] = range;
    if (overlay && !this.overlay) {
      this.overlay = await this.image(overlay.values, { colormap: "warm", colormapNegative: "winter" });
      nv.addVolume(this.overlay);
    }
    if (overlay) {
      const { values, limit } = overlay;
      this.overlay.img.set(values);
      Object.assign(this.overlay, { cal_min: limit * FAINT, cal_max: limit, cal_minNeg: -limit, cal_maxNeg: -limit * FAINT });
    }
    if (mask && !this.mask) {
      this.mask = await this.image(mask, {});
      this.mask.setColormapLabel(this.classColours());
      nv.addVolume(this.mask);
    }
    if (mask) this.mask.img.set(mask);
    for (const [volume, opacity] of [[this.overlay, overlay ? OPACITY : 0], [this.mask, mask ? MASK_OPACITY : 0]]) {
      if (volume) nv.setOpacity(nv.volumes.indexOf(volume), opacity);
    }
    nv.updateGLVolume();
  }

  /** Colours of the classes as NiiVue takes them, the background's first. */
  classColours() {
    const colours = [[0, 0, 0], ...coloursOf(this.description)];
    const [R, G, B] = [0, 1, 2].map((part) => colours.map((colour) => colour[part]));
    return { R, G, B, A: colours.map((_, i) => (i ? 255 : 0)), I: colours.map((_, i) => i) };
  }

  layout(name) {
    const types = this.library.SLICE_TYPE;
    const type = {
      all: types.MULTIPLANAR, axial: types.AXIAL, coronal: types.CORONAL, sagittal: types.SAGITTAL, volume: types.RENDER,
    };
    this.niivue.setSliceType(type[name]);
  }

  shift(axis, step) {
    this.niivue.moveCrosshairInVox(...[2, 1, 0].map((one) => (one === axis ? step : 0)));
  }
}

const PLANES = { // `edges`: the letters at the top, the bottom, the left and the right
  axial: { fixed: 0, down: 1, across: 2, edges: ["A", "P", "L", "R"] },
  coronal: { fixed: 1, down: 0, across: 2, edges: ["S", "I", "L", "R"] },
  sagittal: { fixed: 2, down: 0, across: 1, edges: ["S", "I", "P", "A"] },
};

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Three slices drawn pixel by pixel, where there is no WebGL. */
export class SliceViewer {
  static layouts = ["all", "axial", "coronal", "sagittal"];

  static async open(root, description) {
    const viewer = new SliceViewer();
    viewer.description = description;
    viewer.shape = description.shape;
    viewer.colours = coloursOf(description);
    viewer.place = viewer.shape.map((size) => size >> 1);
    viewer.root = Object.assign(document.createElement("div"), { className: "planes" });
    root.replaceChildren(viewer.root);
    viewer.views = Object.entries(PLANES).map(([name, plane]) => viewer.view(name, plane));
    viewer.scale();
    return viewer;
  }

  /** Give every plane the same scale in millimetres. */
  scale() {
    const widths = this.views.map(({ plane }) => this.shape[plane.across] * this.description.spacing[plane.across]);
    this.root.style.setProperty("--widths", widths.map((width) => `minmax(0, ${width}fr)`).join(" "));
    this.views.forEach(({ figure }, i) => figure.style.setProperty("--share", widths[i] / Math.max(...widths)));
  }

  view(name, plane) {
    const figure = document.createElement("figure");
    const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    canvas.dataset.plane = name;
    canvas.setAttribute("role", "img");
    const label = document.createElement("figcaption");
    const frame = Object.assign(document.createElement("div"), { className: "slice" });
    frame.append(canvas, ...plane.edges.map((textContent) => Object.assign(document.createElement("span"), { textContent, ariaHidden: "true" })));
    figure.append(frame, label);
    this.root.append(figure);
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
      this.place[plane.across] = clamp(Math.floor(across * this.shape[plane.across]), 0, this.shape[plane.across] - 1);
      this.place[plane.down] = clamp(Math.floor((1 - down) * this.shape[plane.down]), 0, this.shape[plane.down] - 1);
      this.draw();
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.shift(plane.fixed, -Math.sign(event.deltaY));
    }, { passive: false });
    return { name, plane, figure, canvas, label };
  }

  async show(content) {
    this.content = content;
    this.draw();
  }

  layout(name) {
    for (const view of this.views) view.figure.hidden = name !== "all" && name !== view.name;
    this.root.classList.toggle("single", name !== "all");
  }

  shift(axis, step) {
    this.place[axis] = clamp(this.place[axis] + step, 0, this.shape[axis] - 1);
    this.draw();
  }

  draw() {
    if (this.content) for (const view of this.views) this.slice(view);
  }

  slice({ name, plane, canvas, label }) {
    const { shape, place } = this, { spacing } = this.description, { base, range: [low, high] } = this.content;
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
        const grey = clamp(((base[from] - low) / (high - low)) * 255, 0, 255);
        const cross = row === place[plane.down] || column === place[plane.across];
        image.data.set([...this.coloured(grey, from), 255], to);
        if (cross) image.data[to + 1] = Math.min(255, image.data[to + 1] + 28);
      }
    }
    context.putImageData(image, 0, 0);
    label.textContent = `${name[0].toUpperCase()}${name.slice(1)} ${place[plane.fixed] + 1} / ${shape[plane.fixed]}`;
    const [top, bottom, left, right] = plane.edges;
    canvas.setAttribute("aria-label", `${label.textContent}; ${top} is up, ${bottom} down, ${left} left, ${right} right; arrow keys move through the volume`);
  }

  /** Red, green and blue of a voxel with what lies over it. */
  coloured(grey, index) {
    const { overlay, mask } = this.content, number = mask ? mask[index] : 0;
    if (number) return blended(grey, this.colours[number - 1], MASK_OPACITY);
    const value = overlay ? overlay.values[index] / overlay.limit : 0, size = Math.abs(value);
    if (size < FAINT) return [grey, grey, grey];
    const strength = Math.min(1, size), colour = value > 0 ? [255, 90 + 150 * strength, 0] : [0, 90 + 130 * strength, 255];
    return blended(grey, colour, OPACITY * Math.min(1, 2 * strength));
  }
}

function blended(grey, colour, opacity) {
  return colour.map((part) => grey * (1 - opacity) + part * opacity);
}
