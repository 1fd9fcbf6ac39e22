"""One spelling for names that look the same.

An accent may be part of its letter, or a mark after it (Unicode NFC and NFD).
"""

from __future__ import annotations

import unicodedata
from fnmatch import fnmatch


def composed(text: str) -> str:
    """A text with accents as part of their letters; macOS writes file names in the other way.

    >>> composed("Mu\u0308ller") == "M\u00fcller"
    True
    """
    return unicodedata.normalize("NFC", text)


def fits(text: str, pattern: str) -> bool:
    """Whether a shell pattern fits a text."""
    return fnmatch(composed(text), composed(pattern))
