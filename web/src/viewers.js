// Two viewers with one interface: `show(base, overlay)`, `layout(name)`, `shift(axis, step)`.
// `base` is a channel's values in its units; `overlay` is null, or {values, limit}: positive values up to the
// limit are drawn in warm colours, negative ones in cold colours, small ones not at all.
// Values lie as [D, H, W] = (up, front, right).

import { scriptAddress, unpack } from "./engine.js";
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

const PLANES = {
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
    viewer.place = viewer.shape.map((size) => size >> 1);
    viewer.root = Object.assign(document.createElement("div"), { className: "planes" });
    root.replaceChildren(viewer.root);
    viewer.views = Object.entries(PLANES).map(([name, plane]) => viewer.view(name, plane));
    return viewer;
  }

  view(name, plane) {
    const figure = document.createElement("figure");
    const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    canvas.dataset.plane = name;
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
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.shift(plane.fixed, -Math.sign(event.deltaY));
    }, { passive: false });
    return { name, plane, figure, canvas, label };
  }

  async show(base, overlay) {
    this.base = base;
    this.overlay = overlay;
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
    if (this.base) for (const view of this.views) this.slice(view);
  }

  slice({ name, plane, canvas, label }) {
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
        const grey = clamp(((this.base[from] - low) / (high - low)) * 255, 0, 255);
        const cross = row === place[plane.down] || column === place[plane.across];
        image.data.set([...this.coloured(grey, from), 255], to);
        if (cross) image.data[to + 1] = Math.min(255, image.data[to + 1] + 28);
      }
    }
    context.putImageData(image, 0, 0);
    label.textContent = `${name[0].toUpperCase()}${name.slice(1)} ${place[plane.fixed] + 1} / ${shape[plane.fixed]}`;
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
}
