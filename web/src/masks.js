// The mask of a volume: in every voxel the class with the largest share.

export const OPACITY = 0.45;

/** Number of each voxel's class among the masks, 0 for the background; volumes hold one channel after the other. */
export function classesOf(volume, channels, voxels) {
  const images = channels.filter(({ kind }) => kind === "image").length, count = channels.length - images;
  const found = new Float32Array(voxels), shares = new Float32Array(count);
  for (let voxel = 0; voxel < voxels; voxel++) {
    let best = 1;
    for (let k = 0; k < count; k++) {
      shares[k] = (volume[(images + k) * voxels + voxel] + 1) / 2;
      best -= shares[k];
    }
    for (let k = 0; k < count; k++) {
      if (shares[k] > best) {
        best = shares[k];
        found[voxel] = k + 1;
      }
    }
  }
  return found;
}

export function maskChannels({ channels }) {
  return channels.filter(({ kind }) => kind === "mask");
}

/** Class numbers as the values of the source. */
export function sourceValues(classes, description) {
  const values = [0, ...maskChannels(description).map(({ label }) => label)];
  return classes.map((number) => values[number]);
}

/** Red, green and blue of each class, the first one's first. */
export function coloursOf(description) {
  return maskChannels(description).map(({ colour }) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
}
