"""Metrics of pairs of volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.test_evaluator import batches, blobs
from tests.evaluation.test_suite import a_set
from voxflate.evaluation import pairs as module
from voxflate.evaluation.pairs import PairBank
from voxflate.evaluation.real import RealSet


@pytest.mark.parametrize("size", [1, 3, 6, 9])
def test_as_many_pairs_are_compared_whatever_the_batch(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 5)
    bank = PairBank(RealSet(a_set(tmp_path / "set", 4, 0)))
    for batch in batches(blobs(9, 5), size):
        bank.add(batch)
    assert len(bank._values["pairwise-l2"]) == 5
