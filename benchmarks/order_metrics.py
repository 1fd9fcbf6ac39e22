"""Does every metric of the suite order known damage? One table, for docs/measurements/metrics.md.

One half of a prepared set is damaged and compared with the other half, for every damage of `order_check`.
Rows are metrics, columns are damages; "none" is the undamaged half, the floor.

    python -m benchmarks.order_metrics PREPARED [--halvings 3]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from benchmarks.arguments import parser_of
from benchmarks.order_check import DAMAGES, Volumes
from numpy.typing import NDArray

from voxflate.data.prepared import open_prepared
from voxflate.evaluation.distances import compare_features
from voxflate.evaluation.real import VIEW_3D, collect, plane_views
from voxflate.metrics.extractors.table import EXTRACTORS, VOLUME_EXTRACTORS
from voxflate.metrics.psnr import from_error, squared_errors
from voxflate.metrics.table import PAIR_METRICS

SHOWN = (
    "none", "blur, 0.7 voxels", "blur, 1.5 voxels", "noise 0.05", "noise 0.2", "average of two subjects",
    "32 subjects repeated", "8 subjects repeated",
)  # fmt: skip
NETWORKS = ("mobilenetv2", "efficientnet-lite0")
ENDINGS = ("-avg", "-avg-cut", "-3d")
_BATCH = 8


def features(volumes: Volumes) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Features by network and view."""
    batches = [volumes[start : start + _BATCH] for start in range(0, len(volumes), _BATCH)]
    found = {name: collect(batches, plane_views, EXTRACTORS[name]("cpu")) for name in NETWORKS}
    return found | {
        "deepbet": collect(batches, lambda batch: {VIEW_3D: batch}, VOLUME_EXTRACTORS["deepbet"]("cpu"))
    }


def pair_figures(volumes: Volumes, real: Volumes) -> dict[str, float]:
    """Every pair metric as in the suite, on neighbours in a random order."""
    volumes = volumes[np.random.default_rng(0).permutation(len(volumes))]
    a, b = torch.from_numpy(volumes), torch.from_numpy(real)
    n = min(len(a), len(b))
    partners = {"generated": (a[:-1], a[1:]), "random": (a[:n], b[:n]), "mean": (a, b.mean(0, keepdim=True))}
    figures = {}
    for name, metric in PAIR_METRICS.items():
        if metric.partner == "nearest":
            values = from_error(squared_errors(a, b).amin(dim=1))
        else:
            x, y = partners[metric.partner]
            y = y.expand_as(x)
            starts = range(0, len(x), _BATCH)
            values = torch.cat([metric.function(x[s : s + _BATCH], y[s : s + _BATCH]) for s in starts])
        figures[name] = float(values.mean())
    return figures


def measure(volumes: Volumes, halvings: int) -> dict[str, dict[str, float]]:
    """Damage -> figure -> mean over halvings."""
    rounds: dict[str, list[Mapping[str, float]]] = {name: [] for name in SHOWN}
    for seed in range(halvings):
        rng = np.random.default_rng(seed)
        real, other = (volumes[half] for half in np.array_split(rng.permutation(len(volumes)), 2))
        reference = features(real)
        for name in SHOWN:
            damaged = other if name == "none" else DAMAGES[name](other, rng).astype(np.float32)
            figures: dict[str, float] = {}
            for network, views in features(damaged).items():
                figures |= compare_features(network, views, reference[network])
            kept = {key: value for key, value in figures.items() if key.endswith(ENDINGS)}
            rounds[name].append(kept | pair_figures(damaged, real))
    return {
        name: {key: float(np.mean([each[key] for each in found])) for key in found[0]}
        for name, found in rounds.items()
    }


def main() -> None:
    """Print the table as Markdown."""
    parser = parser_of(__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--halvings", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(open_prepared(arguments.prepared).volumes("all"), arguments.halvings)
    print(f"| figure | {' | '.join(SHOWN)} |")
    print(f"|---|{'---:|' * len(SHOWN)}")
    for figure in found["none"]:
        print(f"| {figure} | {' | '.join(f'{found[name][figure]:.3g}' for name in SHOWN)} |")


if __name__ == "__main__":
    main()
