"""Train and held-out, split by subject: scans of one person never lie on both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from voxflate.errors import VoxflateError

BIDS_SUBJECT = re.compile(r"(?:^|/)sub-([A-Za-z0-9]+)")


def subject_of(path: Path) -> str:
    """Which person a scan is of: the BIDS label `sub-...` in its path, else the path itself.

    >>> subject_of(Path("sub-07/ses-2/anat/sub-07_ses-2_T1w.nii.gz"))
    '07'
    """
    label = BIDS_SUBJECT.search(path.as_posix())
    return label.group(1) if label else path.as_posix()


def split_subjects(
    subjects: Mapping[Path, str], held_out: float, seed: int
) -> dict[str, list[tuple[str, Path]]]:
    """Shuffle the subjects, hold some out, and give each a pseudonym.

    Args:
        subjects: Scan -> whose it is, as the source names the person.
        held_out: Share of the subjects to hold out. If it is above 0 and there are two subjects or more, at
            least one is held out; at least one is always left to train on.
        seed: Of the shuffle.

    Returns:
        For "train" and "heldout": (pseudonym, path) of each scan, scans of one subject together.

    Raises:
        VoxflateError: If held_out is not a share.
    """
    if not 0 <= held_out < 1:
        raise VoxflateError(
            f"held_out is a share of the subjects, 0 or more and less than 1, got {held_out:g}"
        )
    scans: dict[str, list[Path]] = {}
    for path in sorted(subjects):
        scans.setdefault(subjects[path], []).append(path)
    people = list(scans)
    aside = round(held_out * len(people))
    if held_out > 0:
        aside = min(max(aside, 1), len(people) - 1)
    digits = max(3, len(str(len(people))))
    splits: dict[str, list[tuple[str, Path]]] = {"train": [], "heldout": []}
    # Numbers follow the shuffled order, so that they say nothing about the order of the names.
    for number, chosen in enumerate(np.random.default_rng(seed).permutation(len(people))):
        split = "heldout" if number < aside else "train"
        pseudonym = f"subject-{number + 1:0{digits}d}"
        splits[split] += [(pseudonym, path) for path in scans[people[chosen]]]
    return splits
