"""How close a generator comes to scans that it was not trained on, by `invert`.

    python -m benchmarks.inversion GENERATOR DATA [--volumes 8] [--steps 400] [--out FILE.json]

GENERATOR is a run, an export or the name of a packaged generator; DATA is its prepared set. Inverts the first
held-out volumes with and without noise, and compares with the mean training volume. With masks, the inferred
mask is compared with the real one: once from the scan alone, once with the mask given too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.arguments import add_outputs, parser_of, show
from benchmarks.timing import markdown

import voxflate
from voxflate._system.files import read_json
from voxflate.data.channels import mask_classes, mask_labels
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.metrics.overlap import dice
from voxflate.metrics.psnr import psnr

MEAN_VOLUME = "mean training volume"


def overlaps(found: Any, real: Any, classes: int) -> list[float]:
    """Dice of each volume: the mean over the classes of its mask."""
    return [
        float(np.mean([dice(a == k, b == k) for k in range(1, classes + 1)]))
        for a, b in zip(found, real, strict=True)
    ]


def measure(generator: str, prepared: PreparedSet, count: int, steps: int) -> dict[str, Any]:
    """PSNR in dB, and Dice where there are masks, of every volume in every way."""
    layout = prepared.layout
    brains, volumes = voxflate.load(generator), prepared.volumes("heldout", range(count))
    images = volumes[:, : layout.images]
    average = prepared.volumes("train").mean(0, keepdims=True)
    real_classes = mask_classes(volumes, layout) if layout.masks else None
    masks = mask_labels(volumes, layout) if layout.masks else None
    given = images[:, 0] if layout.images == 1 else images
    flat = torch.from_numpy(average[:, : layout.images])
    ways: dict[str, dict[str, list[float]]] = {
        MEAN_VOLUME: {
            "psnr": psnr(torch.from_numpy(images), flat.expand(len(images), *flat.shape[1:])).tolist()
        }
    }
    if real_classes is not None:
        mean_classes = np.broadcast_to(mask_classes(average, layout), real_classes.shape)
        ways[MEAN_VOLUME]["dice"] = overlaps(mean_classes, real_classes, layout.masks)
    asked = {"style codes": (False, None), "style codes and noise": (True, None)}
    if masks is not None:
        asked["style codes and noise, mask given"] = (True, masks)
    values = [0, *(channel.label for channel in layout.channels[layout.images :])]
    for name, (noise, mask) in asked.items():
        found = brains.invert(given, masks=mask, steps=steps, fit_noise=noise)
        ways[name] = {"psnr": found.psnr.tolist()}
        if real_classes is not None:
            classes = np.searchsorted(values, found.masks)
            ways[name]["dice"] = overlaps(classes, real_classes, layout.masks)
        print(
            name, {key: round(float(np.mean(numbers)), 3) for key, numbers in ways[name].items()}, flush=True
        )
    return {
        "generator": generator,
        "generator-sha256": brains.weights_sha256,
        "data": prepared.content_hash,
        "steps": steps,
        "volumes": len(volumes),
        "ways": ways,
    }


def table(content: dict[str, Any]) -> str:
    """Markdown: mean and standard deviation over the volumes."""
    metrics = list(content["ways"][MEAN_VOLUME])
    rows = [
        [way, *(f"{np.mean(found[name]):.3g} ± {np.std(found[name], ddof=1):.2g}" for name in metrics)]
        for way, found in content["ways"].items()
    ]
    return markdown([f"{content['volumes']} held-out volumes", *metrics], rows)


def main() -> None:
    """Measure, or print the table of what was measured."""
    parser = parser_of(__doc__)
    parser.add_argument("generator", nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    add_outputs(parser)
    given = parser.parse_args()
    if given.table:
        print(table(read_json(given.table)))
        return
    if not given.data:
        parser.error("give a generator and its prepared set")
    show(measure(given.generator, open_prepared(given.data), given.volumes, given.steps), table, given.out)


if __name__ == "__main__":
    main()
