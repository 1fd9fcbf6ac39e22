// NIfTI files. The header comes with the page; Python wrote it, so geometry and units are Python's.

const FLOAT32 = 16, DATATYPE = 70, BITS = 72;
const WHOLE = { 2: Uint8Array, 4: Int16Array }; // by the code of the data type

/** Values of one channel in [-1, 1] in the units of the data. */
export function intensities(volume, [low, high]) {
  return volume.map((value) => low + (value + 1) * ((high - low) / 2));
}

function headerBytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function joined(header, voxels) {
  const file = new Uint8Array(header.length + voxels.byteLength);
  file.set(header);
  file.set(new Uint8Array(voxels.buffer, voxels.byteOffset, voxels.byteLength), header.length);
  return file;
}

/** The file as Python writes it: whole numbers where the header says so (Hounsfield units, masks). */
export function niftiFile(base64, values) {
  const header = headerBytes(base64);
  const Whole = WHOLE[new DataView(header.buffer).getInt16(DATATYPE, true)];
  return joined(header, Whole ? Whole.from(values, roundHalfEven) : values);
}

/** The same with single-precision values, for display. */
export function displayFile(base64, values) {
  const header = headerBytes(base64), view = new DataView(header.buffer);
  view.setInt16(DATATYPE, FLOAT32, true);
  view.setInt16(BITS, 32, true);
  return joined(header, values);
}

/** As NumPy rounds. */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export async function gzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
