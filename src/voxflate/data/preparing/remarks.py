"""Remarks on a set that people should read before training, for the terminal and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.channels import Channel
from voxflate.data.prepared import Scan
from voxflate.data.preparing.quality import FEWEST, Look, apart, outliers
from voxflate.data.preparing.steps import Step
from voxflate.data.sources.account import Account, some
from voxflate.data.sources.source import Source
from voxflate.data.sources.split import bids_label
from voxflate.data.volume import Geometry

ENOUGH = 100
"""With fewer volumes, a network tends to memorise its training scans."""

_MUCH_EMPTY = 0.25
"""Share of the box outside the scans that is worth a remark."""
_MUCH_CUT = 0.01
"""Share of a scan outside the box that is worth a remark."""
_MUCH_UNCOVERED = 0.01
"""Share of the first image's grid that is worth a remark if another image does not cover it."""
_DARK_HU = -900.0


def remark_on_sources(account: Account, sources: Sequence[Source], unread: Path | None = None) -> None:
    """Remark on subjects that may be wrong, and on series with different descriptions.

    Args:
        account: Receives the remarks.
        sources: The scans.
        unread: A table of labels that was not read, because no label was requested.
    """
    people = Counter(one.subject for one in sources)
    count = len(sources)
    if count > 1 and len(people) == 1:
        account.note(
            f"all {count} scans are of one subject ({{subject}}), so none can be held out; if they are of "
            "several people, give the subjects with --subjects folder, or with a list that has a column "
            "subject",
            subject=next(iter(people)),
        )
    unnamed = sum(one.subject == one.name for one in sources)
    if count > 1 and unnamed:
        which, each = f"the {count} scans", "each scan"
        if unnamed < count:
            which, each = f"{unnamed} of the {count} scans", "each of them"
        table = "" if unread is None else f"with --label COLUMN ({unread.name} is read with it), "
        account.note(
            f"the subjects of {which} are unknown, so {each} counts as a different person; if somebody was "
            f"scanned twice, the same person may be trained on and held out: give the subjects {table}with "
            "--subjects folder (the first folder below the source), or with a list that has a column subject"
        )
    whole = {one.subject for one in sources if "-" in one.subject and one.subject == bids_label(one.name)}
    if whole:
        account.note(
            f"subject labels with hyphens ({len(whole)}: {{labels}}) are not allowed in BIDS; each different "
            "label counts as a different person",
            labels=some([f"sub-{label}" for label in sorted(whole)]),
        )
    _remark_on_repeated_labels(account, sources)
    _remark_on_spellings(account, people)
    called = Counter(one.series.description for one in sources if one.series and one.series.description)
    if len(called) > 1:
        account.note(
            f"the series have {len(called)} different descriptions ({{called}}); choose with --series "
            "PATTERN if "
            "they are not of one kind",
            called=some([f"{number} {name}" for name, number in called.most_common()]),
        )


def _remark_on_repeated_labels(account: Account, sources: Sequence[Source]) -> None:
    """Remark on BIDS labels that occur in several folders, as in two data sets that were put together."""
    places: dict[str, set[str]] = {}
    for one in sources:
        label = bids_label(one.name)
        if label and one.subject == label:
            places.setdefault(label, set()).add(one.name[: one.name.index(f"sub-{label}")].rpartition("/")[0])
    if repeated := {label: found for label, found in places.items() if len(found) > 1}:
        label, found = min(repeated.items())
        account.note(
            f"subject labels that occur in several folders: {len(repeated)} ({{example}}); each counts as "
            "one person; if these are different people, give a list with a column subject",
            example=f"sub-{label} in {some(sorted(folder or '.' for folder in found))}",
        )


def _remark_on_spellings(account: Account, people: Iterable[str]) -> None:
    """Remark on subjects that differ only in capitals or blanks."""
    spellings: dict[str, list[str]] = {}
    for name in sorted(people):
        spellings.setdefault("".join(name.casefold().split()), []).append(name)
    if alike := [" / ".join(names) for names in spellings.values() if len(names) > 1]:
        account.note(
            f"subjects that differ only in capitals or blanks: {len(alike)} ({{names}}); each counts as a "
            "different person; if they are one, give a list with a column subject",
            names=some(alike),
        )


def remark_on_grids(account: Account, grids: Sequence[Geometry], steps: Sequence[Step]) -> None:
    """Remark on the size of the cohort's box, and on how much of it lies outside the scans."""
    box = next((step.settings["box"] for step in steps if "box" in step.settings), None)
    if box is None:
        return
    extents = np.array([grid.extent for grid in grids])
    kept = np.minimum(extents, box).prod(axis=1)
    empty = 1 - float(np.mean(kept / np.prod(box)))
    cut = 1 - kept / extents.prod(axis=1)
    text = " x ".join(f"{side:.0f}" for side in box)
    if empty > _MUCH_EMPTY:
        account.note(
            f"the box of {text} mm is larger than most scans: {empty:.0%} of it lies outside the scans and "
            "is "
            "filled with air; --box common or --box percentile makes it smaller, --crop cuts scans down first"
        )
    if (hurt := cut[cut > _MUCH_CUT]).size:
        account.note(
            f"the box of {text} mm cuts off parts of {hurt.size} of {cut.size} scans, {hurt.mean():.0%} of "
            "each on average; --box largest keeps all of them"
        )


def remark_on_cover(account: Account, names: Sequence[str], uncovered: Sequence[Sequence[float]]) -> None:
    """Remark on images that do not cover the first image's grid.

    Args:
        account: Receives the remarks.
        names: Names of the further image channels.
        uncovered: `volumes.Found.uncovered` of every volume.
    """
    for place, name in enumerate(names):
        shares = np.array([one[place] for one in uncovered])
        if (much := shares[shares > _MUCH_UNCOVERED]).size:
            account.note(
                f"image channel {place + 2} ({{name}}) does not cover the first one's field of view in "
                f"{much.size} of {shares.size} volumes: {much.mean():.0%} of it on average is filled with "
                "its darkest value",
                name=name,
            )


def remark_on_set(
    account: Account,
    scans: Sequence[Scan],
    looks: Sequence[Look],
    steps: Sequence[dict[str, Any]],
    held_out: float | None,
    channels: Sequence[Channel] = (),
) -> None:
    """Remark on the number of volumes, and on outliers.

    Args:
        account: Receives the remarks.
        scans: Scans of the set.
        looks: Data of their volumes.
        steps: The steps done, as `manifest.records` returns them.
        held_out: Requested share of held-out subjects; None if a list gave the split.
        channels: Channels of the set.
    """
    counts = Counter(scan.split for scan in scans)
    _remark_on_split(account, counts, len({scan.subject for scan in scans}), held_out)
    if counts["train"] < ENOUGH:
        account.note(
            f"{counts['train']} training volumes are few: a network tends to memorise fewer than "
            f"about {ENOUGH}; look for copies with voxflate audit"
        )
    _remark_on_odd(account, scans, looks, channels, normalised=_window(steps) is None)


def _remark_on_split(account: Account, counts: Counter[str], people: int, held_out: float | None) -> None:
    if counts["heldout"]:
        return
    why = f"there is only {people} subject"
    if held_out is None:
        why = "the list holds out none of the scans that could be used"
    elif not held_out:
        why = "--held-out is 0"
    account.note(
        f"no volume is held out, because {why}: evaluate has no real volumes to compare with that were not "
        "trained on, and audit cannot tell copies from similar anatomy"
    )


def _window(steps: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The step that clips to a window of Hounsfield units, if there is one."""
    return next((step for step in steps if step["step"] == "window_hu"), None)


def remark_on_offset(account: Account, scans: Sequence[Scan], offset: float) -> None:
    """Remark on how many scans an offset in HU was added to; 0 for none asked for."""
    if offset:
        shifted = sum(scan.hu_offset != 0 for scan in scans)
        account.note(
            f"{shifted} of {len(scans)} scans were not in Hounsfield units and were shifted by {offset:+g} "
            "HU (--hu-offset); manifest.json says which"
        )


def remark_on_window(
    account: Account, steps: Sequence[dict[str, Any]], clipped: Sequence[tuple[float, float] | None]
) -> None:
    """Remark on the scans' voxels outside the window of Hounsfield units, if there is one.

    Args:
        account: Receives the remarks.
        steps: The steps done, as `manifest.records` returns them.
        clipped: `Volume.clipped` of every scan.
    """
    window, known = _window(steps), [shares for shares in clipped if shares is not None]
    if window is None or not known:
        return
    low, high = window["low"], window["high"]
    below, above = np.mean(known, axis=0).tolist()
    account.note(
        f"{below:.0%} of the scans' voxels lie below the window of {low:g} to {high:g} HU and {above:.1%} "
        "above; they are clipped to its ends"
    )
    if low > _DARK_HU:
        account.note(
            f"air will be {low:g} HU in generated volumes, not -1000, because the window starts there; "
            f"--window -1000,{high:g} keeps air and lung; voxflate generate --air -1000 writes air as -1000"
        )


def _remark_on_odd(
    account: Account,
    scans: Sequence[Scan],
    looks: Sequence[Look],
    channels: Sequence[Channel],
    *,
    normalised: bool,
) -> None:
    """Name scans that are far from their cohort."""
    found: dict[str, list[tuple[str, str]]] = {}
    if len(scans) >= FEWEST:
        for one in outliers(scans, looks, channels, normalised=normalised):
            value = f" ({one.value:.4g}, median {one.median:.4g})"
            found.setdefault(one.respect, []).append((scans[one.index].scan, value))
    else:
        found = {respect: [(scans[i].scan, "") for i in far] for respect, far in apart(scans).items()}
    for respect, odd in found.items():
        account.note(
            f"{len(odd)} {'scan is' if len(odd) == 1 else 'scans are'} unlike the others in {{respect}}: "
            "{names}",
            written={"respect": respect, "names": some([f"{scan}{value}" for scan, value in odd])},
            respect=respect,
            names=some([f"{account.named(scan)}{value}" for scan, value in odd]),
        )
