// The names of files, and the Python that makes the volume shown.

export const SEED = 0; // of all subjects

/** The name of the file without its suffix. */
export function stem(state, { labels, has_noise: hasNoise }) {
  const { first, second, mode, psi } = state;
  if (state.shown === "average") return "average";
  const stages = stagesOf(state).join("-") || "none";
  const who = {
    one: `subject-${first}`,
    mix: `mix-${first}-${second}-stages-${stages}`,
    walk: `walk-${first}-${second}-${Math.round(100 * state.position)}`,
  };
  const asked = labels.map(({ name }) => `-${word(name)}-${valueWord(state.labels[name])}`).join("");
  return `${who[mode]}-variety-${Math.round(100 * psi)}${asked}${hasNoise && !state.noise ? "-plain" : ""}`;
}

/** The resolutions at which the second subject gives the features, 0 for the coarsest. */
function stagesOf({ levels }) {
  return levels.flatMap((taken, stage) => (taken ? [stage] : []));
}

/** A name or a value as a part of a file name. */
export function word(text) {
  return String(text).replace(/[^\p{L}\p{N}.]+/gu, "_");
}

/** A number keeps its minus, or -5 and 5 would name one file. */
function valueWord(value) {
  return typeof value === "number" ? String(value) : word(value);
}

/** The Python code that makes the volume shown. */
export function python(state, description) {
  const { first, second, mode, position, noise, shown } = state;
  const asked = description.labels.length ? `, labels=${literal(state.labels)}` : "";
  const psi = `truncation=${state.psi}${asked}`;
  const lines = ["import voxflate", "", `generator = voxflate.load(${JSON.stringify(description.folder)})`];
  if (shown === "average") lines.push("styles = generator.styles(1, truncation=0)", "scans = generator.render(styles)");
  else if (mode === "one" && noise) lines.push(`scans = generator.sample(1, seed=${SEED}, first=${first}, ${psi})`);
  else if (mode === "mix" && noise) lines.push(`scans = generator.mix(${first}, ${second}, ${JSON.stringify(stagesOf(state))}, ${psi})`);
  else {
    lines.push(`styles = generator.styles(1, first=${first}, ${psi})`);
    if (mode !== "one") lines.push(`other = generator.styles(1, first=${second}, ${psi})`);
    if (mode === "walk") lines.push(`styles = styles + ${position} * (other - styles)`);
    const layers = description.level_of_ws.flatMap((level, layer) => (state.levels[level] ? [layer] : []));
    if (mode === "mix") lines.push(`styles[:, ${JSON.stringify(layers)}] = other[:, ${JSON.stringify(layers)}]`);
    lines.push(`scans = generator.render(styles${noise ? `, subject=${first}` : ""})`);
  }
  return [...lines, `scans.save(${JSON.stringify(`${stem(state, description)}.nii.gz`)})`].join("\n");
}

/** Values by name as Python writes them. */
function literal(values) {
  return `{${Object.entries(values).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}}`;
}
