"""Which scan fits a pattern, and the rules by which the files of one volume are recognised.

Every rule gives each scan a key; scans with the same key belong to one volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from voxflate.data.readers.table import suffix_of
from voxflate.data.sources.source import Source
from voxflate.data.sources.spelling import composed, fits

_DERIVATIVES = "/derivatives/"
_WILD = {"*": ".*", "?": "."}
"""Wildcards of a pattern as regular expressions; brackets are the same in both."""


def matches(scan: Source, pattern: str) -> bool:
    """Whether a pattern fits a scan's name, path or description."""
    return any(fits(text, pattern) for text in _texts(scan))


def is_image(scan: Source, pattern: str) -> bool:
    """Whether a scan belongs to an image channel; derivatives do only if the pattern names them."""
    if _DERIVATIVES in f"/{scan.name}" and _DERIVATIVES not in f"/{pattern}":
        return False
    return not pattern or matches(scan, pattern)


def _texts(scan: Source) -> Iterator[str]:
    """The texts that patterns are matched against: name, path below the source, series description."""
    yield scan.path.name
    yield scan.name
    if scan.series:
        yield scan.series.description


class _Key(Protocol):
    """A scan's key under the pattern of its channel; an empty key pairs with nothing."""

    def __call__(self, scan: Source, pattern: str) -> str: ...


def _labels(*names: str) -> _Key:
    """A key made of BIDS labels; the first one is required."""

    def key(scan: Source, pattern: str) -> str:
        found = [re.search(rf"(?:^|[/_]){name}-([A-Za-z0-9]+)", scan.name) for name in names]
        return " ".join(one[0].strip("/_") if one else "-" for one in found) if found[0] else ""

    return key


def _open_part(scan: Source, pattern: str) -> str:
    """The text that the pattern's wildcards match, without the suffix: a case's name."""
    if not pattern:
        return _stem(scan, pattern)
    pattern, text = composed(pattern), composed(scan.path.name if "/" not in pattern else scan.name)
    end = len(text) - len(suffix_of(text))
    parts = re.split(r"(\*+|\?|\[[^]]+\])", pattern)  # fixed and open parts alternate
    groups = [f"({_WILD.get(part[0], part)})" if i % 2 else re.escape(part) for i, part in enumerate(parts)]
    found = re.fullmatch("".join(groups).replace("[!", "[^"), text, re.DOTALL)
    if not found:
        return ""
    spans = [(found.start(i), min(found.end(i), end)) for i in range(1, 1 + len(found.groups()))]
    return "/".join(filter(None, (text[start:stop].strip("_-./ ") for start, stop in spans if start < stop)))


def _stem(scan: Source, pattern: str) -> str:
    name = scan.path.name
    return name[: len(name) - len(suffix_of(name))]


def _study(scan: Source, pattern: str) -> str:
    return f"{scan.series.patient} {scan.series.study}".strip() if scan.series else ""


def _below(scan: Source, pattern: str) -> str:
    """The path below the first folder: equal in two trees of the same shape, such as images/ and labels/."""
    name = scan.name.partition("/")[2]
    return name[: len(name) - len(suffix_of(name))]


def _folder(scan: Source, pattern: str) -> str:
    return scan.name.rpartition("/")[0] or "."


def _first_folder(scan: Source, pattern: str) -> str:
    return scan.name.partition("/")[0] if "/" in scan.name else ""


def _subject(scan: Source, pattern: str) -> str:
    return scan.subject


KEYS: dict[str, _Key] = {
    "BIDS subject, session and run": _labels("sub", "ses", "run"),
    "BIDS subject and session": _labels("sub", "ses"),
    "BIDS subject": _labels("sub"),
    "names without the fixed part of the patterns": _open_part,
    "names": _stem,
    "path below the first folder": _below,
    "folder": _folder,
    "DICOM study": _study,
    "first folder": _first_folder,
    "subject": _subject,
}
"""Name of a pairing rule -> function that gives a scan's key."""
