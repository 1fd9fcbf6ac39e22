"""Checks that the files of one volume are of one person."""

from __future__ import annotations

from collections.abc import Sequence

from voxflate.data.readers.refusals import ScanError
from voxflate.data.sources.source import Source


def other_person(scans: Sequence[Source]) -> ScanError | None:
    """The error that scans of one volume are of several people; None if nothing says so.

    Headers may name one person differently. A list's subjects, and the first folders under --subjects folder,
    say more than they do.

    Args:
        scans: The scans, at least one.
    """
    known = [one for one in scans if one.series and one.series.patient]
    if (
        len({one.series.patient for one in known if one.series}) < 2
        or len({one.subject for one in known}) < 2
    ):
        return None
    return ScanError(
        scans[0].path,
        "would be one volume with scans of other people: the PatientIDs of {names} differ; correct the "
        "pattern or the names that pair them, or say whose scans they are with a list that has a column "
        "subject, or with --subjects folder",
        names=" and ".join(one.name for one in known),
    )
