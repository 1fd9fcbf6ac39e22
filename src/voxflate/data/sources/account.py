"""The account of a preparation: what happened to every file found, and further notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from voxflate.data.readers.refusals import printable

_NAMES = 3
"""Most names that a line shows."""
_MOST_LINES = 20


class Account:
    """Records that every file found is used, or left out for a reason.

    Reasons and notes go into files that are passed on, so they hold no names; names are shown on the
    terminal.

    Attributes:
        used: Files of the scans in the set.
        scans: Pseudonyms of the scans in the set -> their names.
    """

    def __init__(self) -> None:
        self._names: dict[Path, str] = {}
        self._left: dict[Path, str] = {}
        self._folders: dict[str, list[str]] = {}
        self._notes: dict[str, str] = {}
        self.used: set[Path] = set()
        self.scans: dict[str, str] = {}

    def see(self, path: Path, name: str) -> None:
        """Add a file, with its path relative to the source."""
        self._names[path] = name

    def leave(self, paths: Iterable[Path], reason: str) -> None:
        """Record why files are not used. The first reason counts."""
        for path in paths:
            self._names.setdefault(path, path.name)
            self._left.setdefault(path, reason)

    def explain(self, path: Path, use: str) -> None:
        """Record what a file is that was used but is not a scan, instead of a reason why it is left out."""
        if path in self._names:
            self._left[path] = use

    def pass_by(self, folder: str, reason: str) -> None:
        """Record why a folder was not searched."""
        self._folders.setdefault(reason, []).append(folder)

    def note(self, text: str, /, *, written: Mapping[str, str] | None = None, **private: object) -> None:
        """Add a note on the set.

        Args:
            text: The note; `{name}` stands for a name that only the terminal shows.
            written: What files have in its place, by name; three dots if it is not there.
            private: Those names.
        """
        shown = {name: printable(value) for name, value in private.items()}
        others = dict.fromkeys(private, "...") | dict(written or {})
        self._notes[text.format(**others)] = text.format(**shown)

    def named(self, scan: str) -> str:
        """A scan for the terminal: its name and, as in files, its pseudonym."""
        return f"{printable(self.scans[scan])} [{scan}]" if scan in self.scans else scan

    @property
    def notes(self) -> list[str]:
        """The notes, for the terminal."""
        return list(self._notes.values())

    @property
    def seen(self) -> int:
        """Number of files found."""
        return len(self._names)

    def left_out(self) -> dict[str, list[str]]:
        """Reason -> names of the files, the most frequent first."""
        rows: dict[str, list[str]] = {}
        for path, name in self._names.items():
            if path not in self.used:
                rows.setdefault(self._left.get(path, "not part of a scan in the set"), []).append(name)
        return dict(sorted(rows.items(), key=lambda row: -len(row[1])))

    def left_like(self, fits: Callable[[str, str], bool]) -> dict[str, list[str]]:
        """Reason -> names of the files left out so far whose name and reason fit."""
        rows: dict[str, list[str]] = {}
        for path, reason in self._left.items():
            if fits(self._names[path], reason):
                rows.setdefault(reason, []).append(self._names[path])
        return rows

    def record(self) -> dict[str, Any]:
        """The account for the manifest: counts and reasons, without names."""
        rows = self.left_out()
        return {
            "seen": self.seen,
            "used": self.seen - sum(map(len, rows.values())),
            "left_out": [{"reason": reason, "files": len(names)} for reason, names in rows.items()],
            "folders": [{"reason": why, "folders": len(names)} for why, names in self._folders.items()],
            "notes": list(self._notes),
        }

    def lines(self) -> Iterator[str]:
        """The account for the terminal."""
        rows = self.left_out()
        left = sum(map(len, rows.values()))
        yield f"files: {self.seen} seen = {self.seen - left} used + {left} left out"
        for reason, names in list(rows.items())[:_MOST_LINES]:
            yield f"{len(names):7d}  {reason}: {some(names)}"
        if len(rows) > _MOST_LINES:
            rest = sum(len(names) for names in list(rows.values())[_MOST_LINES:])
            yield f"{rest:7d}  for {len(rows) - _MOST_LINES} more reasons; all are in report.html"
        for reason, names in self._folders.items():
            yield f"folders not searched: {len(names)} ({reason}): {some(names)}"

    def summary(self) -> str:
        """Why no file is left to use, on one line."""
        rows = [f"{len(names)} {reason} ({some(names)})" for reason, names in self.left_out().items()]
        rows += [
            f"{len(names)} folders not searched ({reason}: {some(names)})"
            for reason, names in self._folders.items()
        ]
        return "; ".join(rows[:6])


def some(names: list[str]) -> str:
    """The first few names."""
    shown = ", ".join(printable(name) for name in names[:_NAMES])
    return f"{shown}, ..." if len(names) > _NAMES else shown
