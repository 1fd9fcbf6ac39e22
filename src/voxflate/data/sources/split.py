"""Splits into train and held-out by subject: scans of one person are never in both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from voxflate._system.errors import VoxflateError

Key = TypeVar("Key", bound=Path | tuple[Path, int])
"""Identifies a scan: its path, or its path and the index of a stack in its file."""

_BIDS_SUBJECT = re.compile(r"(?:^|/)sub-([^_/.\s]+?)(?=[_/.\s]|-(?:ses|run|acq)-|$)")
"""A subject's label in a path. BIDS allows only letters and digits; a label with hyphens counts whole."""


def subject_of(path: Path) -> str:
    """The subject of a scan: the BIDS label `sub-...` in its path, otherwise the path itself.

    >>> subject_of(Path("sub-07/ses-2/anat/sub-07_ses-2_T1w.nii.gz"))
    '07'
    >>> subject_of(Path("sub-control-01.nii.gz"))
    'control-01'
    """
    return bids_label(path.as_posix()) or path.as_posix()


def bids_label(name: str) -> str:
    """The first BIDS label `sub-...` of a person in a path, without `sub-`; empty if there is none."""
    label = _BIDS_SUBJECT.search(name)
    return label.group(1) if label else ""


def split_subjects(subjects: Mapping[Key, str], held_out: float, seed: int) -> dict[str, list[Key]]:
    """Shuffle the subjects and hold some out.

    Args:
        subjects: Scan -> the source's name for the person.
        held_out: Share of the subjects to hold out. If it is above 0 and there are two subjects or more, at
            least one is held out; at least one is always left for training.
        seed: Seed of the shuffle.

    Returns:
        For "train" and "heldout": the scans, grouped by subject. The order of the subjects is
        shuffled, so that it reveals nothing about the order of their names.

    Raises:
        VoxflateError: If held_out is not a share.
    """
    check_share(held_out)
    people = _by_person(subjects)
    names = list(people)
    aside = round(held_out * len(names))
    if held_out > 0:
        aside = min(max(aside, 1), len(names) - 1)
    order = [people[names[chosen]] for chosen in np.random.default_rng(seed).permutation(len(names))]
    return {"train": [*chain(*order[aside:])], "heldout": [*chain(*order[:aside])]}


def fixed_split(subjects: Mapping[Key, str], splits: Mapping[Key, str], seed: int) -> dict[str, list[Key]]:
    """The split given by a list of scans, with its subjects shuffled.

    Raises:
        VoxflateError: If a subject is in both splits, or nobody is left to train on.
    """
    order = split_subjects(subjects, 0, seed)["train"]
    sides: dict[str, set[str]] = {}
    for path in order:
        sides.setdefault(subjects[path], set()).add(splits[path])
    for subject, found in sides.items():
        if len(found) > 1:
            raise VoxflateError(
                f"subject {subject!r} is listed for training and as held out; hold out other people, or, if "
                "these are scans of different people, say so with a column subject or with --subjects file"
            )
    chosen = {split: [path for path in order if splits[path] == split] for split in ("train", "heldout")}
    if not chosen["train"]:
        raise VoxflateError("the list holds out every scan; give some of them the split train")
    return chosen


def check_share(held_out: float) -> None:
    """Refuse a number that is not a share of the subjects."""
    if not 0 <= held_out < 1:
        raise VoxflateError(
            f"held_out is a share of the subjects, 0 or more and less than 1, got {held_out:g}"
        )


def _by_person(subjects: Mapping[Key, str]) -> dict[str, list[Key]]:
    scans: dict[str, list[Key]] = {}
    for key in sorted(subjects):
        scans.setdefault(subjects[key], []).append(key)
    return scans
