"""Lists every file below a folder, following links once, and accounts for everything skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voxflate.data.sources.account import Account

BIDS_MARK = "dataset_description.json"
_BIDS_NO_SCANS = ("derivatives", "sourcedata", "code", "stimuli")


@dataclass(frozen=True)
class File:
    """A file that may be a scan or part of one, with its entry in a list.

    Attributes:
        path: Its path.
        name: The path relative to the source.
        subject: The subject of the scan; empty if no list gives it.
        split: One of `prepared.SPLITS`; empty if no list gives it.
        case: The same for all files of one line of a list; empty without a list.
        channel: Index of the channel in the case; the mask comes after the images.
        values: Other columns of its line, in lower case.
    """

    path: Path
    name: str
    subject: str = ""
    split: str = ""
    case: str = ""
    channel: int = 0
    values: Mapping[str, str] = field(default_factory=dict)


def files_below(folder: Path, root: Path, account: Account, *, derivatives: bool = False) -> list[File]:
    """All regular, visible files below a folder, sorted by path.

    A file that can be reached in two ways (a link and itself, two links, hard links) is returned once.

    Args:
        folder: Folder to search, including subfolders.
        root: Folder that names are relative to.
        account: Receives every file, and folders that are not searched.
        derivatives: Whether to search derivatives of BIDS trees too, as for masks.
    """
    no_scans = _BIDS_NO_SCANS[1:] if derivatives else _BIDS_NO_SCANS
    found: dict[tuple[int, int], File] = {}
    outside = 0
    # Files before links to them, so that the file itself is kept.
    for entry in sorted(_entries(folder, root, account, no_scans), key=lambda entry: entry.linked):
        file = File(entry.path, _name(entry.path, root))
        account.see(file.path, file.name)
        if file.path.name.startswith("."):
            account.leave([file.path], "hidden file")
        elif entry.key is None:
            account.leave([file.path], entry.state)
        elif entry.key in found:
            account.leave([file.path], "a second name (link) of a file that is already there")
        else:
            found[entry.key] = file
            outside += entry.linked and not file.path.resolve().is_relative_to(folder.resolve())
    if outside:
        files = "1 file is" if outside == 1 else f"{outside} files are"
        account.note(f"{files} read through links that lead outside the folder of scans")
    return sorted(found.values(), key=lambda file: file.path)


@dataclass(frozen=True)
class _Entry:
    """A name in a folder that is not a folder.

    Attributes:
        path: The name.
        linked: Whether it, or a folder above it, is a link.
        key: Identifies the file; None if it cannot be opened as a file.
        state: Why it cannot be opened.
    """

    path: Path
    linked: bool
    key: tuple[int, int] | None
    state: str = ""


def _entries(folder: Path, root: Path, account: Account, no_scans: tuple[str, ...]) -> Iterator[_Entry]:
    """Every name below a folder; in BIDS trees, also below it, folders called `no_scans` are not searched."""
    seen: set[tuple[int, int]] = set()
    waiting = [(folder, False)]
    while waiting:
        current, linked = waiting.pop()
        name = _name(current, root)
        try:
            status = current.stat()
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            account.pass_by(name, f"cannot be opened: {error.strerror or error}")
            account.note("a folder could not be opened ({name}), so its scans are missing", name=name)
            continue
        if (status.st_dev, status.st_ino) in seen:
            account.pass_by(name, "a link to a folder that is already searched")
            continue
        seen.add((status.st_dev, status.st_ino))
        excluded = no_scans if any(entry.name == BIDS_MARK for entry in entries) else ()
        for entry in entries:
            path = Path(entry.path)
            if not _is_folder(entry):
                yield _entry(entry, path, linked)
            elif entry.name.startswith("."):
                account.pass_by(_name(path, root), "hidden")
            elif entry.name in excluded:
                account.pass_by(_name(path, root), "not raw scans of a BIDS tree")
            else:
                # Links last, so that a folder is searched under its own name.
                place = len(waiting) if not entry.is_symlink() else 0
                waiting.insert(place, (path, linked or entry.is_symlink()))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def _entry(entry: os.DirEntry[str], path: Path, linked: bool) -> _Entry:
    linked = linked or entry.is_symlink()
    try:
        status = entry.stat()
    except OSError:
        return _Entry(path, linked, None, "a broken link (content not fetched, moved, or circular)")
    if not entry.is_file():
        return _Entry(path, linked, None, "not a regular file (pipe, socket or device)")
    return _Entry(path, linked, (status.st_dev, status.st_ino))


def _name(path: Path, root: Path) -> str:
    """The path relative to the source; the whole path if it lies elsewhere."""
    whole, start = path.as_posix(), f"{root.as_posix().rstrip('/')}/"
    if path == root:
        return "."
    # pathlib does the same, but takes longer than everything else done for a file here.
    return whole.removeprefix(start if root.as_posix() != "." else "")
