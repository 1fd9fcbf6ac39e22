"use strict";
// Slice-through viewer: sets of volumes [n, D, H, W] (S, A, R), bytes, drawn in three planes. The first
// axis of a slice points up; the subject's left is on the left. Masks lie over the slices in colour.
(() => {
  const PLANES = [
    { name: "axial", fixed: 0, down: 1, across: 2 },
    { name: "coronal", fixed: 1, down: 0, across: 2 },
    { name: "sagittal", fixed: 2, down: 0, across: 1 },
  ];
  const OPACITY = 0.4; // of a mask's colours
  const sets = new Map();
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const rgb = (colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  const loadSet = (id) => {
    if (!sets.has(id)) {
      const set = JSON.parse(document.getElementById(id).textContent);
      set.bytes = bytes(set.data);
      set.masks = set.classes && { classes: bytes(set.classes), colours: set.colours.map(rgb) };
      set.count = set.names.length;
      sets.set(id, set);
    }
    return sets.get(id);
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  class Viewer {
    constructor(root) {
      this.root = root;
      this.masked = true;
      this.panels = [...root.querySelectorAll(".panel")].map((element) => this.panel(element));
      const shape = this.panels[0].set.shape;
      this.place = shape.map((size) => Math.floor(size / 2));
      this.draw();
    }

    panel(element) {
      const panel = { element, index: 0, title: element.querySelector(".name") };
      const chooser = element.querySelector("select");
      const choose = (id) => { panel.set = loadSet(id); panel.index = clamp(panel.index, 0, panel.set.count - 1); };
      choose(chooser.value);
      chooser.addEventListener("change", () => { choose(chooser.value); this.draw(); });
      for (const [selector, step] of [[".previous", -1], [".next", 1]]) {
        element.querySelector(selector).addEventListener("click", () => this.turn(panel, step));
      }
      panel.mask = element.querySelector(".mask");
      panel.mask.addEventListener("click", () => { this.masked = !this.masked; this.draw(); });
      panel.views = PLANES.map((plane) => this.view(panel, plane));
      return panel;
    }

    view(panel, plane) {
      const canvas = panel.element.querySelector(`canvas[data-plane="${plane.name}"]`);
      const label = canvas.parentElement.querySelector(".place");
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        this.move(plane.fixed, event.deltaY < 0 ? 1 : -1);
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event, panel, plane));
      const point = (event) => {
        const box = canvas.getBoundingClientRect();
        const share = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
        this.place[plane.across] = Math.floor(share[0] * panel.set.shape[plane.across]);
        this.place[plane.down] = Math.floor(share[1] * panel.set.shape[plane.down]);
        this.draw();
      };
      canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
      canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) point(event); });
      return { canvas, label, plane };
    }

    key(event, panel, plane) {
      const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -1e6, End: 1e6 };
      if (event.key in steps) this.move(plane.fixed, steps[event.key]);
      else if (event.key === "ArrowLeft") this.turn(panel, -1);
      else if (event.key === "ArrowRight") this.turn(panel, 1);
      else return;
      event.preventDefault();
    }

    move(axis, step) {
      this.place[axis] += step;
      this.draw();
    }

    turn(panel, step) {
      const linked = "linked" in this.root.dataset ? this.panels : [panel];
      for (const one of linked) one.index = (one.index + step + one.set.count) % one.set.count;
      this.draw();
    }

    draw() {
      for (const panel of this.panels) {
        const shape = panel.set.shape;
        shape.forEach((size, axis) => { this.place[axis] = clamp(this.place[axis], 0, size - 1); });
        panel.title.textContent = `${panel.set.names[panel.index]} (${panel.index + 1} of ${panel.set.count})`;
        panel.mask.hidden = !panel.set.masks;
        panel.mask.setAttribute("aria-pressed", this.masked);
        for (const view of panel.views) this.slice(panel, view);
      }
    }

    slice(panel, { canvas, label, plane }) {
      const { shape, spacing, bytes, masks } = panel.set;
      const strides = [shape[1] * shape[2], shape[2], 1];
      const rows = shape[plane.down], columns = shape[plane.across], here = this.place[plane.fixed];
      canvas.width = columns;
      canvas.height = rows;
      canvas.style.aspectRatio = `${columns * spacing[plane.across]} / ${rows * spacing[plane.down]}`;
      const context = canvas.getContext("2d");
      const image = context.createImageData(columns, rows);
      const start = panel.index * shape[0] * shape[1] * shape[2] + here * strides[plane.fixed];
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const from = start + row * strides[plane.down] + column * strides[plane.across], value = bytes[from];
          const number = masks && this.masked ? masks.classes[from] : 0;
          const colour = number ? masks.colours[(number - 1) % masks.colours.length] : [value, value, value];
          const cross = row === this.place[plane.down] || column === this.place[plane.across];
          const at = 4 * ((rows - 1 - row) * columns + column);
          image.data.set(colour.map((part) => value + OPACITY * (part - value)), at);
          if (cross) image.data[at + 1] = Math.min(255, image.data[at + 1] + 22);
          image.data[at + 3] = 255;
        }
      }
      context.putImageData(image, 0, 0);
      label.textContent = `${plane.name} ${here + 1} / ${shape[plane.fixed]}`;
    }
  }

  for (const root of document.querySelectorAll(".viewer")) root.viewer = new Viewer(root);
})();
