"""How headers tell generated volumes from scans."""

from __future__ import annotations

SYNTHETIC = "synthetic: made by a generative network (voxflate)"
"""Description in the header of a generated volume."""


def note_synthetic(description: str) -> str:
    """A remark on a header that calls its volume generated; empty for any other description."""
    if not description.startswith(SYNTHETIC):
        return ""
    return (
        "the header says: made by a generative network (voxflate), so it is not a scan; unless that is "
        "meant, move it elsewhere, or choose the scans with --only or a list"
    )
