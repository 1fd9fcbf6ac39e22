"""Removes folders from remarks, so that what is shared does not tell where its owner keeps files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from voxflate.evaluation import Assessment

_OF_OTHER_DATA = re.compile(
    r"(.*): (is not the data that|gives its scans other labels than when|has other labels than|"
    r"was measured with other data than) (.*) (was trained|was measured)",
    re.DOTALL,
)
"""The remarks of `runs.trained_on` and of evaluations, whose folders may have spaces in their names."""


def without_folders(remark: str) -> str:
    """A remark in which every path is shortened to its last part.

    >>> without_folders("/home/A B/set: is not the data that runs/3d was trained on")
    'set: is not the data that 3d was trained on'
    >>> without_folders("/home/A B/set: is not the data that /home/A B/001-best was measured with")
    'set: is not the data that 001-best was measured with'
    >>> without_folders("no 3D distance: (clinic/net.pt) is missing")
    'no 3D distance: net.pt) is missing'
    """
    return "; ".join(_shortened(part) for part in remark.split("; "))


def facts_without_folders(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an evaluation or an audit with a shortened remark about other data."""
    remark = {"other_data": without_folders(facts["other_data"])} if "other_data" in facts else {}
    return {**facts, **remark}


def assessment_without_folders(assessment: Assessment) -> Assessment:
    """An evaluation with shortened remarks and warnings."""
    warnings = tuple(map(without_folders, assessment.warnings))
    return replace(assessment, facts=facts_without_folders(assessment.facts), warnings=warnings)


def _shortened(remark: str) -> str:
    if found := _OF_OTHER_DATA.search(remark):
        return f"{Path(found[1]).name}: {found[2]} {Path(found[3]).name} {found[4]}{remark[found.end() :]}"
    return re.sub(r"\S*/(?=\S)", "", remark)  # relative paths tell as much, so no slash is spared
