"""Pairs the files of one volume: the image channels of a subject, and its mask.

In a list these are the files of one line. In a folder every channel has a pattern, and files are paired by
the first of `KEYS` that completes the most volumes: BIDS labels, the part of the name that the pattern
leaves open (equal names in two folders, nnU-Net's _0000 and _0001), the folder, or the patient and study in
DICOM.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.dicom_slices import CONTOURS, SEGMENTATION
from voxflate.data.readers.refusals import ScanError
from voxflate.data.sources.account import Account, some
from voxflate.data.sources.lists import MASK
from voxflate.data.sources.pairing_keys import KEYS, is_image, matches
from voxflate.data.sources.people import other_person
from voxflate.data.sources.source import Reading, Refuse, Source
from voxflate.data.sources.spelling import composed, fits
from voxflate.data.sources.walk import File

IMAGE = "image"
"""The name of the only image channel."""


@dataclass(frozen=True)
class Channel:
    """The scans of one channel, before they are paired.

    Attributes:
        name: For messages.
        pattern: Pattern of its names; empty for all other scans, and in lists.
        scans: Sorted by path.
    """

    name: str
    pattern: str
    scans: list[Source]


def channel_names(reading: Reading, images: int) -> tuple[str, ...]:
    """Names of the image channels; those without a name are numbered."""
    return tuple(reading.channels) or ((IMAGE,) if images < 2 else tuple(f"image-{i}" for i in range(images)))


def by_pattern(
    source: Path,
    scans: Iterable[Source],
    reading: Reading,
    account: Account,
    dropped: Sequence[Source] = (),
) -> list[Channel]:
    """The scans of a folder by channel, the mask last; other scans go to the account.

    Args:
        source: The folder, for messages.
        scans: Its scans.
        reading: The patterns of the channels and the mask.
        account: Receives scans that match no pattern; tells why files were left out.
        dropped: Scans that --series and --modality left out, for messages.

    Raises:
        VoxflateError: If a scan matches two channels, or a channel has no scans.
    """
    if not reading.pairs:
        return [Channel(IMAGE, "", list(scans))]
    patterns = dict(reading.channels) or {IMAGE: ""}
    channels = [Channel(name, pattern, []) for name, pattern in patterns.items()]
    mask = Channel(reading.mask_name, reading.mask, [])
    seen = []
    for scan in scans:
        seen.append(scan.name)
        if reading.mask and matches(scan, reading.mask):
            mask.scans.append(scan)
            continue
        fitting = [one for one in channels if is_image(scan, one.pattern)]
        if len(fitting) > 1:
            names = " and ".join(one.name for one in fitting)
            raise VoxflateError(f"{scan.path}: matches the channels {names}; make their patterns narrower")
        if fitting:
            fitting[0].scans.append(scan)
        else:
            account.leave(scan.files, "matches no --channel or --mask")
    channels += [mask] if reading.mask else []
    for one in channels:
        if not one.scans:
            what = f"--mask {one.pattern!r}" if one is mask else f"--channel {one.name}={one.pattern!r}"
            lost = [scan for scan in dropped if one is not mask and is_image(scan, one.pattern)]
            left_out = _left_out(account, one.pattern, masks=one is mask)
            if lost:
                raise _dropped(source, what, lost, reading)
            if seen and len(mask.scans) == len(seen):
                raise VoxflateError(
                    f"{source}: --mask {reading.mask!r} matches all {len(seen)} scans; give a pattern of "
                    "masks alone"
                )
            raise VoxflateError(
                f"{source}: no scan matches {what}; it has {len(seen)} scans, such as {some(seen)}{left_out}"
            )
    return channels


def by_list(
    source: Path,
    scans: Iterable[Source],
    files: Mapping[Path, File],
    reading: Reading,
    dropped: Sequence[Source],
    account: Account,
) -> list[Channel]:
    """The same for a list, by the columns that name the files, whose entries are `files`.

    Raises:
        VoxflateError: If no line has a file for a channel.
    """
    found: dict[int, list[Source]] = {}
    for scan in scans:
        found.setdefault(files[scan.path].channel, []).append(scan)
    count = max(1 + max(file.channel for file in files.values()), len(reading.channels))
    names = channel_names(reading, count)
    channels = [Channel(names[i], "", found.get(i, [])) for i in range(count)]
    if reading.mask:
        channels.append(Channel(reading.mask_name, "", found.get(MASK, [])))
    for number, one in zip([*range(count), MASK], channels, strict=False):
        if one.scans:
            continue
        if lost := [scan for scan in dropped if files[scan.path].channel == number]:
            raise _dropped(source, one.name, lost, reading)
        own = {file.name for file in files.values() if file.channel == number}
        if left_out := account.left_like(partial(_is_one_of, own)):
            raise VoxflateError(f"{source}: no file for {one.name} can be used: {_reasons(left_out)}")
        raise VoxflateError(
            f"{source}: no line has a file for {one.name}; name its column with --channel or --mask"
        )
    return channels


def _is_one_of(names: Container[str], name: str, reason: str) -> bool:
    return name in names


def _dropped(source: Path, what: str, scans: Sequence[Source], reading: Reading) -> VoxflateError:
    """The error that --series and --modality leave nothing for a channel."""
    names = [scan.name for scan in scans]
    return VoxflateError(
        f"{source}: no scan is left for {what}: {reading.selection} leaves out all {len(names)} that match "
        f"({some(names)}); change the option, or drop the channel"
    )


def _left_out(account: Account, pattern: str, *, masks: bool) -> str:
    """Why files that match a pattern were left out; for masks, else of files that are masks in any case."""

    def matching(name: str, reason: str) -> bool:
        return bool(pattern) and any(fits(one, pattern) for one in (name, name.rpartition("/")[2]))

    found = account.left_like(matching)
    if masks and not found:
        found = account.left_like(lambda name, reason: reason in (SEGMENTATION, CONTOURS))
    return f"; left out: {_reasons(found)}" if found else ""


def _reasons(left_out: Mapping[str, list[str]]) -> str:
    """How many files were left out for which reasons."""
    return "; ".join(f"{some(names)} ({reason})" for reason, names in left_out.items())


def paired(
    source: Path,
    channels: Sequence[Channel],
    files: Mapping[Path, File],
    reading: Reading,
    refuse: Refuse,
    account: Account,
) -> list[Source]:
    """The first channel's scans, each with the scans paired with it.

    Args:
        source: Folder or list, for messages.
        channels: At least one, the mask last.
        files: A list's entries for the scans' files.
        reading: Tells whether there is a mask.
        refuse: Called for every volume that lacks a channel, has two files for one, or is of two people.
        account: Receives masks without a scan, and how scans were paired.

    Raises:
        VoxflateError: If no files can be paired; anything that `refuse` raises.
    """
    if len(channels) == 1:
        return channels[0].scans
    listed = any(file.case for file in files.values())
    how, tables = ("line of the list", _by_case(channels, files)) if listed else _best(channels)
    if not set.intersection(*(set(table) for table in tables)):
        found = "; ".join(f"{one.name}: {some([scan.name for scan in one.scans])}" for one in channels)
        raise VoxflateError(
            f"{source}: no {channels[0].name} can be paired with a {channels[-1].name} by name, folder or "
            f"BIDS label ({found}); rename the files, or pair them in a list (.csv, .json)"
        )
    if not listed:
        account.note(f"files of one volume were paired by their {how}")
    kept = []
    for key in dict.fromkeys(key for table in tables for key in table):
        members = [table.get(key, []) for table in tables]
        if reading.mask and not any(members[:-1]):
            account.leave((path for one in members[-1] for path in one.files), "a mask without a scan")
        elif error := _incomplete(channels, members) or other_person([scans[0] for scans in members]):
            error.files = tuple(path for scans in members for one in scans for path in one.files)
            refuse(error)
        else:
            kept.append(_joined([scans[0] for scans in members], masked=bool(reading.mask)))
    return sorted(kept, key=lambda one: one.key)


def _joined(scans: Sequence[Source], *, masked: bool) -> Source:
    images = scans[:-1] if masked else scans
    return replace(images[0], others=tuple(images[1:]), mask=scans[-1] if masked else None)


def _incomplete(channels: Sequence[Channel], members: Sequence[Sequence[Source]]) -> ScanError | None:
    """The error in the scans of one volume; None if there is exactly one per channel."""
    first = next(scans[0] for scans in members if scans)
    missing = [one.name for one, scans in zip(channels, members, strict=True) if not scans]
    if missing:
        return ScanError(
            first.path, f"has no {' and no '.join(missing)}; add the file, or leave it out with --skip-bad"
        )
    for one, scans in zip(channels, members, strict=True):
        if len(scans) > 1:
            return ScanError(
                first.path,
                f"has {len(scans)} files for {one.name} ({{names}}); keep one of them, or make the pattern "
                "narrower",
                names=some([scan.name for scan in scans]),
            )
    return None


def _by_case(channels: Sequence[Channel], files: Mapping[Path, File]) -> list[dict[str, list[Source]]]:
    return [_table(one.scans, lambda scan: files[scan.path].case) for one in channels]


def _best(channels: Sequence[Channel]) -> tuple[str, list[dict[str, list[Source]]]]:
    """The rule that pairs the most volumes with the fewest surplus files; the first of equals."""
    ranked = []
    for how, key in KEYS.items():
        tables = [_table(one.scans, partial(key, pattern=one.pattern)) for one in channels]
        complete = set.intersection(*(set(table) for table in tables))
        spare = sum(len(table[key]) - 1 for table in tables for key in complete)
        ranked.append((len(complete), -spare, how, tables))
    best = max(ranked, key=lambda one: one[:2])
    return best[2], best[3]


def _table(scans: Iterable[Source], key: Callable[[Source], str]) -> dict[str, list[Source]]:
    """Scans by key; scans without a key stand alone under their name."""
    table: dict[str, list[Source]] = {}
    for scan in scans:
        table.setdefault(composed(key(scan)) or f"\0{scan.name}#{scan.stack}", []).append(scan)
    return table
