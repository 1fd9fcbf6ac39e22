// What a generator can be asked for: a control per label, and the vector that its mapping network takes.

const FEW = 3; // classes that are shown side by side

/** Smallest step of a slider that moves through the range in about a hundred steps, a power of ten. */
function stepOf({ low, high }) {
  return high > low ? 10 ** Math.floor(Math.log10((high - low) / 50)) : 1;
}

function digitsOf(label) {
  return Math.max(0, Math.round(-Math.log10(stepOf(label))));
}

function written(label, value) {
  return label.high > label.low ? value.toFixed(digitsOf(label)) : String(value);
}

/** How many steps a value lies above 0; without the rounding, 0.07 / 0.01 is above 7. */
function inSteps(value, step) {
  return Number((value / step).toFixed(6));
}

/** A number on the slider of a label, inside the range that was seen in training. */
function snapped(label, value) {
  if (label.high <= label.low) return label.low;
  const step = stepOf(label), first = Math.ceil(inSteps(label.low, step));
  const last = Math.max(first, Math.floor(inSteps(label.high, step)));
  return Number((Math.min(last, Math.max(first, Math.round(value / step))) * step).toFixed(digitsOf(label)));
}

/** Name -> value, as the page begins. */
export function firstValues(labels) {
  return Object.fromEntries(labels.map((label) => [label.name, label.kind === "continuous" ? snapped(label, label.example) : label.example]));
}

/** The vector of the values: 1 for a class and 0 for the others; a number as its standard score. */
export function encoded(labels, values) {
  return Float32Array.from(labels.flatMap(({ name, kind, values: classes, mean, deviation }) =>
    kind === "categorical" ? classes.map((one) => (one === values[name] ? 1 : 0)) : [(values[name] - mean) / deviation]));
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Nothing was learned of a class that only held-out people have. */
function seenOrNot({ unseen }, value) {
  return unseen.includes(value) ? { disabled: true, title: "No training scan has it" } : {};
}

function chooser(label, number, change) {
  const name = `label-${number}`;
  const text = make("span", { textContent: label.name });
  if (label.values.length > FEW) {
    const options = label.values.map((value) => make("option", { value, textContent: value, ...seenOrNot(label, value) }));
    const select = make("select", { name, onchange: ({ target }) => change(label.name, target.value) }, ...options);
    return { element: make("label", { className: "labelled" }, text, select), set: (value) => { select.value = value; } };
  }
  const radios = label.values.map((value) => make("input", { type: "radio", name, value, onchange: () => change(label.name, value), ...seenOrNot(label, value) }));
  const parts = radios.map((radio) => make("label", { title: radio.title }, radio, make("span", { textContent: radio.value })));
  const choice = make("div", { className: "choice" }, ...parts);
  choice.setAttribute("role", "radiogroup");
  choice.setAttribute("aria-label", label.name);
  const set = (value) => { for (const radio of radios) radio.checked = radio.value === value; };
  return { element: make("div", { className: "labelled" }, text, choice), set };
}

function slider(label, number, change) {
  const step = stepOf(label), output = make("output", {}), ends = [snapped(label, label.low), snapped(label, label.high)];
  const input = make("input", {
    type: "range", name: `label-${number}`, min: ends[0], max: ends[1], step, oninput: ({ target }) => change(label.name, snapped(label, Number(target.value))),
  });
  const limits = make("span", { className: "ends" }, ...ends.map((end) => make("span", { textContent: written(label, end) })));
  const element = make("label", { className: "slider" }, make("span", {}, label.name, " ", output), input, limits);
  return { element, set: (value) => { input.value = value; output.textContent = written(label, value); } };
}

/** Put a control per label into `root`; gives what brings them in line with values. */
export function labelControls(root, labels, change) {
  const made = labels.map((label, i) => (label.kind === "categorical" ? chooser : slider)(label, i, change));
  root.append(...made.map(({ element }) => element));
  return (values) => labels.forEach(({ name }, i) => made[i].set(values[name]));
}
