"""Checks that a set has one kind of scan: a network would learn several kinds as one.

DICOM describes a series by modality, description and image type. Other files have only names, so if a case
has several files, its kinds are recognised by the words in which their names differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from math import isnan
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.refusals import printable
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading, Source
from voxflate.data.sources.walk import BIDS_MARK

_MOST_KINDS = 6
_LONG_ECHO_MS = 45.0
"""Threshold between the echo times of T1 and T2 weighting."""

# fmt: off
_STRONG = frozenset((
    "t1", "t1w", "t1ce", "t1c", "t1gd", "t1n", "t2", "t2w", "t2f", "flair", "adc", "dwi", "dti", "swi",
    "tof", "bold", "seg", "segmentation", "mask", "masks", "label", "labels", "labelmap", "labelstr",
    "labelsts", "aseg", "aparc", "parcellation", "roi", "contour",
))
"""Words in a name that tell what kind of scan a file is."""
_WEAK = frozenset((
    "pd", "pdw", "ct", "pet", "mr", "mri", "ce", "gd", "gad", "contrast", "phase", "mag", "magnitude", "fa",
    "md", "trace", "b0", "perf", "asl", "cbf", "image", "images", "imagestr", "imagests", "img", "imgs",
    "scan", "scans", "brain", "head", "bias",
))
"""Words that tell it only if two files of a case differ in nothing else."""
_MAPS = frozenset((
    "ADC", "TRACEW", "TRACE", "FA", "EXP", "PHASE", "P", "MAP", "PERFUSION", "SUBTRACTION", "MIP",
))
"""Values of ImageType that make a series a different kind from its neighbours."""
# fmt: on
_SEPARATORS = re.compile(r"[_\-\s]+")
_CHANNEL = re.compile(r"^(.*)_(\d{4})$")


def chosen_series(
    scans: Iterable[Source], is_mask: Callable[[Source], bool], reading: Reading, account: Account
) -> tuple[list[Source], list[Source]]:
    """The scans selected by --series and --modality, with all masks; the others go to the account.

    --modality selects among series whose headers tell their modality. It says that of other series; without a
    header that tells, also that of other files.

    Returns:
        The selected scans, and the others.
    """
    scans = list(scans)
    images = [one for one in scans if not is_mask(one)]
    wanted = reading.modality.upper()
    selects = bool(wanted) and any(one.series and one.series.modality for one in images)
    silent = [one for one in images if one.series and not one.series.modality]
    if wanted and images and not selects:
        account.note(f"the files do not tell their modality; --modality says {wanted}")
    elif wanted and silent:
        account.note(f"{len(silent)} DICOM series of no modality: --modality says {wanted}")
    kept, dropped = [], []
    for one in scans:
        description = one.series.description.lower() if one.series else ""
        if is_mask(one):
            kept.append(one)
        elif selects and not (one.series and one.modality == wanted):
            account.leave(one.files, "does not match --modality")
            dropped.append(one)
        elif reading.series and not (one.series and fnmatch(description, reading.series.lower())):
            account.leave(one.files, "does not match --series")
            dropped.append(one)
        else:
            kept.append(one)
    return kept, dropped


def all_dropped(source: Path, dropped: Sequence[Source], reading: Reading) -> VoxflateError:
    """The error that --series and --modality leave nothing; lists what there is."""
    found = Counter(_label(one, described=bool(reading.series)) for one in dropped)
    shown = ", ".join(f"{count} {label}" for label, count in found.most_common(_MOST_KINDS))
    more = f" and {len(found) - _MOST_KINDS} more kinds" if len(found) > _MOST_KINDS else ""
    scans = f"its {len(dropped)} scans" if len(dropped) > 1 else "its only scan"
    return VoxflateError(
        f"{source}: {reading.selection} leaves out {scans}: {shown}{more}; change the option, or leave it out"
    )


def _label(one: Source, *, described: bool) -> str:
    """Describe a scan in a few words: its modality, and the description of its series."""
    if one.series is None:
        return "not DICOM"
    name = f" ({printable(one.series.description) or 'no description'})" if described else ""
    return f"{one.series.modality or 'of no modality'}{name}"


def check_one_kind(source: Path, sources: Sequence[Source], reading: Reading) -> None:
    """Refuse several kinds of scans as one set, unless requested.

    Raises:
        VoxflateError: Lists the kinds and how to choose one.
    """
    if reading.mixed:
        return
    if (source / BIDS_MARK).is_file():
        _check_bids(source, sources)
    series = [one for one in sources if one.series]
    _check_series(source, series, reading)
    _check_files(source, [one for one in sources if not one.series])


def _check_bids(source: Path, sources: Iterable[Source]) -> None:
    kinds = Counter(one.path.name.split(".")[0].rsplit("_", 1)[-1] for one in sources)
    if len(kinds) > 1:
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
        raise VoxflateError(
            f"{source}: is a BIDS tree with several kinds of scans ({found}); choose one, such as "
            f"--only '*_{kinds.most_common(1)[0][0]}.nii*', or make them channels of one "
            "volume with --channel"
        )


def _check_series(source: Path, sources: Sequence[Source], reading: Reading) -> None:
    """Refuse series of several modalities or contrasts, or several series of one study."""
    kinds: dict[tuple[str, ...], list[Source]] = {}
    for one in sources:
        kinds.setdefault(_kind(one), []).append(one)
    modalities = {kind[0] for kind in kinds if kind[0]}
    contrasts = {kind[1:3] for kind in kinds}
    studies: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for kind, members in kinds.items():
        for one in members:
            if one.series and (one.series.study or one.series.patient):
                studies.setdefault((one.series.patient, one.series.study), set()).add(kind)
    several = len(contrasts) > 1 or any(len(found) > 1 for found in studies.values())
    if len(modalities) > 1 or (several and not reading.series):
        found = "; ".join(_described(members) for members in _commonest(kinds.values()))
        more = f"; and {len(kinds) - _MOST_KINDS} more" if len(kinds) > _MOST_KINDS else ""
        raise VoxflateError(
            f"{source}: has several kinds of scans: {found}{more}. Choose one with --series PATTERN (its "
            "description) or --modality NAME, leave short ones out with --min-slices N, or take all as one "
            "set "
            "with --mixed"
        )


def _kind(one: Source) -> tuple[str, ...]:
    """Modality, contrast by description and image type, length of the echo, description."""
    series, modality = one.series, one.modality
    if series is None:
        return ("", "", "", "")
    words = re.split(r"[^a-z0-9]+", series.description.lower())
    contrast = _contrast(words) | {word for word in series.image_type[2:] if word in _MAPS}
    echo = "" if contrast or isnan(series.echo_ms) or modality != "MR" else "short"
    if echo and series.echo_ms > _LONG_ECHO_MS:
        echo = "long"
    return modality, " ".join(sorted(contrast)), echo, " ".join(words)


def _contrast(words: Iterable[str]) -> set[str]:
    return {word.removesuffix("w") for word in words if word in _STRONG}


def _commonest(kinds: Iterable[list[Source]]) -> list[list[Source]]:
    return sorted(kinds, key=lambda members: -len(members))[:_MOST_KINDS]


def _described(members: Sequence[Source]) -> str:
    """Describe a kind of series: how many, of how many people, and its most common grid."""
    found = [one.series for one in members if one.series]
    grid, _ = Counter(
        (one.geometry.shape, tuple(round(side, 2) for side in one.geometry.spacing)) for one in found
    ).most_common(1)[0]
    shape = "x".join(map(str, grid[0]))
    sides = "x".join(f"{side:g}" for side in grid[1])
    people = len({one.subject for one in members})
    name = printable(found[0].description) or "no description"
    return (
        f"{len(members)} {members[0].modality or 'of no modality'} ({name}) of {people} "
        f"{'person' if people == 1 else 'people'}, {shape} voxels of {sides} mm"
    )


def _check_files(source: Path, sources: Sequence[Source]) -> None:
    """Refuse cases whose files are of several kinds, by the words in their names."""
    kinds: dict[frozenset[str], list[str]] = {}
    cases: dict[str, set[frozenset[str]]] = {}
    for one in sources:
        words, case = _words(one.name)
        kinds.setdefault(words, []).append(one.name)
        cases.setdefault(case, set()).add(words)
    strong = {words & _STRONG for words in kinds}
    # t1, t2, t3 may be numbers: words count only if every file has one, or one case has several.
    everywhere = len(strong) > 1 and frozenset() not in strong
    if everywhere or any(case and len(found) > 1 for case, found in cases.items()):
        ordered = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
        found = ", ".join(
            f"{len(names)} {' '.join(sorted(words)) or 'others'}" for words, names in ordered[:_MOST_KINDS]
        )
        raise VoxflateError(
            f"{source}: its files seem to be of several kinds ({found}); choose one, such as "
            f"--only '{_pattern(ordered[0][0], ordered[0][1][0])}', make them channels of one "
            "volume with --channel and --mask, or take all as one set with --mixed"
        )
    _check_channels(source, sources)


def _words(name: str) -> tuple[frozenset[str], str]:
    """The words in a path that tell what kind of scan it is, and the rest of the path: the case.

    Weak words only count as a folder or at the end of a name: at the start they may be a group of people.
    """
    *folders, file = name.lower().split("/")
    *start, end = _SEPARATORS.split(file.split(".")[0])
    anywhere, kinds = {*folders, end}, set()
    case = []
    for part in (*folders, *start, end):
        if part in _STRONG or (part in _WEAK and part in anywhere):
            kinds.add(part)
        else:
            case.append(part)
    return frozenset(kinds), "/".join(case)


def _pattern(words: frozenset[str], name: str) -> str:
    """A pattern for --only that matches files with these words; an example if there are no words."""
    *folders, file = name.split("/")
    stem = file.split(".")[0]
    for folder in folders:
        if folder.lower() in words:
            return f"*{folder}/*"
    end = _SEPARATORS.split(stem)[-1]
    if end.lower() in words:
        before = f"*{stem[-len(end) - 1]}" if len(stem) > len(end) else ""
        return f"{before}{end}.*"
    return next((f"*{part}*" for part in _SEPARATORS.split(stem) if part.lower() in words), "*_T1w.nii*")


def _check_channels(source: Path, sources: Sequence[Source]) -> None:
    """Refuse several channels of one case: names that end in _0000, _0001, ... as nnU-Net's do."""
    channels: dict[str, set[str]] = {}
    for one in sources:
        if found := _CHANNEL.match(one.name.split(".")[0]):
            channels.setdefault(found[1], set()).add(found[2])
    cases = [found for found in channels.values() if len(found) > 1]
    if len(channels) > 1 and len(cases) == len(channels) and all("0000" in found for found in cases):
        numbers = ", ".join(sorted(set().union(*cases))[:_MOST_KINDS])
        raise VoxflateError(
            f"{source}: its cases have several channels ({numbers}), which are several kinds of scans; "
            "choose one, such as --only '*_0000.*', make them channels of one volume with --channel, or take "
            "all as one set with --mixed"
        )
