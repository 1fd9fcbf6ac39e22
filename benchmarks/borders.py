"""Do generated volumes carry a frame? Mean brightness of their outermost shells, beside that of real volumes.

    python -m benchmarks.borders RUN ... [--data DATA] [--samples 64] [--shells 4]

Shell 0 is the surface of the volume, shell 1 the voxels just below it, and so on. Air is -1. A frame left
by padding with 0 would make shell 0 brighter than in real volumes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmarks.arguments import parser_of
from benchmarks.timing import markdown
from numpy.typing import NDArray

import voxflate
from voxflate.config.toml import load_config
from voxflate.data.prepared import open_prepared


def shells(volumes: NDArray[np.float32], count: int) -> list[float]:
    """Mean brightness of the outermost shells of volumes [n, D, H, W].

    >>> volume = np.zeros((1, 4, 4, 4), np.float32)
    >>> volume[:, 1:-1, 1:-1, 1:-1] = 1
    >>> shells(volume, 2)
    [0.0, 1.0]
    """
    depth = np.min(
        [
            np.minimum(place, side - 1 - place)
            for place, side in zip(np.indices(volumes.shape[1:]), volumes.shape[1:], strict=True)
        ],
        axis=0,
    )
    return [float(volumes[:, depth == number].mean()) for number in range(count)]


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, help="the prepared set of all runs, if it has moved")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--shells", type=int, default=4)
    given = parser.parse_args()
    rows, seen = [], set()
    for run in given.runs:
        generator = voxflate.load(run)
        volumes = np.asarray(generator.sample(given.samples)).reshape(-1, *generator.shape)
        rows.append([run.name, *_cells(volumes, given.shells)])
        data = given.data or load_config(run).data
        if data not in seen:
            seen.add(data)
            real = open_prepared(data).volumes("train")[:, 0]
            rows.append([f"real, {Path(data).name}", *_cells(real, given.shells)])
    print(markdown(["mean brightness", *(f"shell {number}" for number in range(given.shells))], rows))


def _cells(volumes: NDArray[np.float32], count: int) -> list[str]:
    return [f"{mean:.3f}" for mean in shells(volumes, count)]


if __name__ == "__main__":
    main()
