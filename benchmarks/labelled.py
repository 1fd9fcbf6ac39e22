"""What a label changes: the same subjects, generated for several values of it, above real subjects.

    python -m benchmarks.labelled RUN --label age 25 45 65 80 --out docs/images/ages.png [--data DATA]

One column per value, one sheet per subject. Nothing is chosen: they are the first subjects of seed 0, and
only the label changes from value to value. The last sheet has, per column, the training volume whose label is
nearest to the value.

It also prints how much of the middle third of the volumes (per axis) is darker than the middle grey. In
brains these are the ventricles, which grow with age. Real volumes: the correlation with the label. Generated
ones: the mean per value over --many subjects, and how many of them grow.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from benchmarks.arguments import parser_of
from benchmarks.sheets import page_of
from numpy.typing import NDArray

import voxflate
from voxflate.config.toml import load_config
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.drawing.sheets import sample_sheet


def generated(run: Path, label: str, values: list[float], number: int) -> NDArray[np.float32]:
    """One subject with each value of the label, [v, 1, D, H, W]."""
    generator = voxflate.load(run)
    drawn = generator.sample(1, first=number).labels
    assert drawn is not None
    volumes = [generator.sample(1, first=number, labels={**drawn[0], label: value}) for value in values]
    return np.stack([np.asarray(volume).reshape(1, *generator.shape) for volume in volumes])


def real(prepared: PreparedSet, label: str, values: list[float]) -> tuple[NDArray[np.float32], list[float]]:
    """The training volumes whose label is nearest to each value, and their labels."""
    known = np.array([scan.labels[label] for scan in prepared.manifest.scans if scan.split == "train"])
    nearest = [int(np.abs(known - value).argmin()) for value in values]
    return prepared.volumes("train", nearest)[:, :1], known[nearest].tolist()


def dark(volumes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of dark voxels in the middle third of volumes [n, 1, D, H, W]."""
    middle = tuple(slice(side // 3, side - side // 3) for side in volumes.shape[2:])
    return np.array((volumes[(slice(None), 0, *middle)] < 0).mean(axis=(1, 2, 3)))


def measure(run: Path, prepared: PreparedSet, label: str, values: list[float], many: int) -> None:
    """Print the dark shares of real volumes, and of generated ones by value."""
    known = [scan.labels[label] for scan in prepared.manifest.scans if scan.split == "train"]
    r = np.corrcoef(known, dark(prepared.volumes("train")[:, :1]))[0, 1]
    print(f"real volumes: correlation of {label} with the dark share {r:.2f}")
    shares = np.array([dark(generated(run, label, values, number)) for number in range(many)])
    means = ", ".join(f"{value:g}: {mean:.3f}" for value, mean in zip(values, shares.mean(0), strict=True))
    slopes = np.polyfit(values, shares.T, 1)[0]
    print(f"generated, mean dark share by {label}: {means}; grows in {(slopes > 0).sum()} of {many} subjects")


def main() -> None:
    """Write the picture."""
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--label", nargs="+", required=True, metavar="NAME VALUE", help="and its values")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--many", type=int, default=24, help="subjects whose dark shares are measured")
    parser.add_argument("--data", type=Path, help="the prepared set, if it has moved")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    label, values = arguments.label[0], [float(value) for value in arguments.label[1:]]
    prepared = open_prepared(arguments.data or load_config(arguments.run).data)
    measure(arguments.run, prepared, label, values, arguments.many)
    shown = ", ".join(f"{value:g}" for value in values)
    with tempfile.TemporaryDirectory() as folder:
        sheets = []
        for number in range(arguments.subjects):
            volumes = generated(arguments.run, label, values, number)
            title = f"subject {number}, {label} {shown}"
            sheets.append(_sheet(volumes, Path(folder) / f"{number}.png", title, prepared))
        volumes, known = real(prepared, label, values)
        title = f"real, {label} {', '.join(f'{value:.0f}' for value in known)}"
        sheets.append(_sheet(volumes, Path(folder) / "real.png", title, prepared))
        page_of([[sheet] for sheet in sheets], share=1.0).save(arguments.out)


def _sheet(volumes: NDArray[np.float32], path: Path, title: str, prepared: PreparedSet) -> Path:
    sample_sheet(volumes, path, title=title, spacing=prepared.spacing)
    return path


if __name__ == "__main__":
    main()
