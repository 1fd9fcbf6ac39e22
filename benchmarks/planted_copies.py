"""How many planted copies does the audit find among real brains, and how many strangers does it flag?

The volumes of a prepared set are split anew: some for training, some held out, the rest are strangers. Every
training volume is copied: shifted by up to 2 voxels along each axis, every second one flipped, with noise of
0.03 to 0.1 added.

    python -m benchmarks.planted_copies PREPARED
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.arguments import parser_of

from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.evaluation import Auditor
from voxflate.metrics import extractor

HELDOUT, STRANGERS = 15, 40


def dealt(prepared: PreparedSet, folder: Path, seed: int) -> tuple[PreparedSet, np.ndarray]:
    """A prepared set with some of the volumes, and the strangers [n, 1, D, H, W]."""
    order = np.random.default_rng(seed).permutation(len(prepared.manifest.scans))
    stored = np.concatenate([prepared.stored(split) for split in ("train", "heldout")])[order]
    parts = {"train": stored[STRANGERS + HELDOUT :], "heldout": stored[STRANGERS : STRANGERS + HELDOUT]}
    scan = prepared.manifest.scans[0]
    scans = [
        replace(scan, subject=f"{split}-{number}", split=split)
        for split, part in parts.items()
        for number in range(len(part))
    ]
    folder.mkdir()
    for split, part in parts.items():
        np.save(folder / f"{split}.npy", part)
    replace(prepared.manifest, scans=scans, content_sha256=f"{seed:064d}").write(folder)
    return open_prepared(folder), prepared.volumes("all")[order[:STRANGERS]]


def copied(volume: np.ndarray, number: int) -> np.ndarray:
    """A copy of [1, D, H, W] that is hard to see."""
    rng = np.random.default_rng(number)
    shifted = np.roll(volume, rng.integers(-2, 3, 3), (1, 2, 3))
    if number % 2:
        shifted = shifted[..., ::-1]
    return np.clip(shifted + rng.normal(0, rng.uniform(0.03, 0.1), volume.shape), -1, 1).astype(np.float32)


def main() -> None:
    """Print both shares."""
    parser = parser_of(__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepared, strangers = dealt(open_prepared(arguments.prepared), Path(folder) / "set", arguments.seed)
        train = prepared.volumes("train")
        copies = np.stack([copied(volume, number) for number, volume in enumerate(train)])
        auditor = Auditor(prepared, extractor("mobilenetv2"))
        audit = auditor.run([copies, strangers])
    found = [number for number in audit.flagged if number < len(copies)]
    right = sum(audit.samples[number].neighbour == number for number in found)
    alarms = len(audit.flagged) - len(found)
    print(f"{len(found)} of {len(copies)} copies found, {right} with their original")
    print(f"{alarms} of {len(strangers)} strangers flagged")


if __name__ == "__main__":
    main()
