"""Evaluation of a set whose scans are all of one person."""

from __future__ import annotations

from pathlib import Path

from tests.evaluation.test_suite import a_set
from tests.reports.test_evaluations import SET, evaluation, voxflate


def test_a_set_of_one_subject_is_evaluated_and_the_report_says_what_is_missing(tmp_path: Path) -> None:
    a_set(tmp_path / "set", 12, 0, subjects=1)
    run = tmp_path / "run"
    voxflate("train", tmp_path / "set", "--out", run, *SET, "--set", "evaluation.every=1")
    shown = voxflate("evaluate", run, "--replicates", 5, "--volume-extractor", "none", "--no-tsne")
    assert "no intervals, no floor and no KID: all real volumes come from one subject" in shown
    page = " ".join((evaluation(run) / "report.html").read_text().split())
    assert "The floor (real against real) is unknown: all real volumes come from one subject." in page
    shown = voxflate("compare", run, "--out", tmp_path / "page", "--no-tsne")
    assert "no intervals, no floor and no KID" in shown
    line = voxflate("audit", run, status=2)
    assert "training volumes of 1 subject" in line
