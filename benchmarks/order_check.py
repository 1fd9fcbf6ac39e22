"""Does the Frechet distance rise with known damage, and at which input size of the extractor?

One half of a prepared set is damaged and compared with the other half; the result is the ratio of that
distance to the undamaged one (the floor), averaged over the three planes and over random halvings. A metric
for ranking generators must rise with blur, noise, averaging of subjects and repetition of subjects.

    python benchmarks/order_check.py PREPARED --sides 64 96 128 --out docs/images/order-check.png
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from voxflate.data.prepared import open_prepared
from voxflate.metrics import PLANES, FeatureExtractor, centre_slices, cut_background, frechet_distance
from voxflate.metrics.extractors.mobilenet import mobilenetv2

mpl.use("Agg")
from matplotlib import pyplot as plt

Volumes = NDArray[np.float32]
Damage = Callable[[Volumes, np.random.Generator], Volumes]


def blur(sigma: float) -> Damage:
    """Gaussian, sigma in voxels."""
    return lambda x, _: ndimage.gaussian_filter(x, (0, 0, sigma, sigma, sigma), mode="nearest")


def noise(sigma: float, inside: bool = False) -> Damage:
    """White noise with this standard deviation, everywhere or only inside the brain."""

    def damage(x: Volumes, rng: np.random.Generator) -> Volumes:
        added = rng.normal(0, sigma, x.shape).astype(np.float32)
        return np.clip(x + added * (x > -0.99) if inside else x + added, -1, 1)

    return damage


def average(x: Volumes, _: np.random.Generator) -> Volumes:
    """Every subject averaged with the next."""
    return (x + np.roll(x, 1, axis=0)) / 2


def repeat(subjects: int) -> Damage:
    """Only the first few subjects, repeated."""
    return lambda x, _: x[np.arange(len(x)) % subjects]


DAMAGES: dict[str, Damage] = {
    "blur, 0.35 voxels": blur(0.35),
    "blur, 0.7 voxels": blur(0.7),
    "blur, 1.5 voxels": blur(1.5),
    "noise 0.02": noise(0.02),
    "noise 0.05": noise(0.05),
    "noise 0.2": noise(0.2),
    "noise 0.05 inside": noise(0.05, inside=True),
    "noise 0.2 inside": noise(0.2, inside=True),
    "air at -0.98": lambda x, _: np.maximum(x, np.float32(-0.98)),
    "average of two subjects": average,
    "32 subjects repeated": repeat(32),
    "8 subjects repeated": repeat(8),
}


def distance(first: dict[str, NDArray[np.float32]], second: dict[str, NDArray[np.float32]]) -> float:
    """Mean over the planes."""
    return float(np.mean([frechet_distance(first[plane], second[plane]) for plane in PLANES]))


def features(extract: FeatureExtractor, volumes: Volumes, cut: bool) -> dict[str, NDArray[np.float32]]:
    """Features per plane, [n, f]."""
    slices = centre_slices(cut_background(volumes) if cut else volumes)
    return {plane: extract(torch.from_numpy(np.ascontiguousarray(x))).numpy() for plane, x in slices.items()}


def ratios(volumes: Volumes, side: int, cut: bool, halvings: int) -> dict[str, tuple[float, float]]:
    """Per damage: mean and standard deviation over halvings of the distance divided by the floor."""
    extract = mobilenetv2(side=side)
    found: dict[str, list[float]] = {name: [] for name in DAMAGES}
    for seed in range(halvings):
        rng = np.random.default_rng(seed)
        first, second = (volumes[half] for half in np.array_split(rng.permutation(len(volumes)), 2))
        reference = features(extract, first, cut)
        floor = distance(features(extract, second, cut), reference)
        for name, damage in DAMAGES.items():
            found[name].append(distance(features(extract, damage(second, rng), cut), reference) / floor)
    return {name: (float(np.mean(values)), float(np.std(values))) for name, values in found.items()}


def milliseconds(side: int) -> float:
    """Time per slice at this side."""
    extract = mobilenetv2(side=side)
    slices = torch.zeros(64, 1, 32, 32)
    extract(slices)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        extract(slices)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / len(slices) * 1e3


def draw(table: dict[str, dict[str, tuple[float, float]]], title: str, path: Path) -> None:
    """One row per damage, one mark per setting."""
    figure, axes = plt.subplots(figsize=(8, 5.2), layout="constrained")
    places = np.arange(len(DAMAGES))[::-1]
    for index, (setting, row) in enumerate(table.items()):
        values = np.array([row[name] for name in DAMAGES])
        offset = (index - (len(table) - 1) / 2) * 0.13
        axes.errorbar(
            values[:, 0], places - offset, xerr=values[:, 1], fmt="so^Dv<"[index], markersize=5, label=setting
        )
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set(xscale="log", xlabel="distance / real-vs-real floor", title=title)
    axes.set_yticks(places, list(DAMAGES))
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def settings(sides: list[int]) -> Iterator[tuple[str, int, bool]]:
    """Name, side, background cut."""
    for side in sides:
        yield f"{side} pixels", side, False
    yield f"{sides[len(sides) // 2]} pixels, cut", sides[len(sides) // 2], True


def main() -> None:
    """Print the table as Markdown and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--halvings", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepared = open_prepared(arguments.prepared)
    volumes = prepared.volumes("all")
    table = {
        name: ratios(volumes, side, cut, arguments.halvings) for name, side, cut in settings(arguments.sides)
    }
    print(f"| damage | {' | '.join(table)} |")
    print(f"|---|{'---|' * len(table)}")
    for damage in DAMAGES:
        print(f"| {damage} | {' | '.join(f'{row[damage][0]:.1f}' for row in table.values())} |")
    times = [f"{milliseconds(side):.1f}" for _, side, _ in settings(arguments.sides)]
    print(f"| ms per slice | {' | '.join(times)} |")
    shape = "x".join(map(str, prepared.shape))
    draw(table, f"Order check, {len(volumes)} volumes of {shape}, halves against each other", arguments.out)


if __name__ == "__main__":
    main()
