"""Metrics of pairs of volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import batches, blobs
from tests.evaluation.test_suite import FLAT, a_set
from voxflate.evaluation import Suite
from voxflate.evaluation import pairs as module
from voxflate.evaluation.pairs import PairBank
from voxflate.evaluation.real import RealSet
from voxflate.metrics.psnr import psnr
from voxflate.metrics.ssim import ms_ssim


@pytest.mark.parametrize("size", [1, 3, 6, 9])
def test_as_many_pairs_are_compared_whatever_the_batch(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 5)
    bank = PairBank(RealSet(a_set(tmp_path / "set", 4, 0)))
    for batch in batches(blobs(9, 5), size):
        bank.add(batch)
    assert len(bank._values["pairwise-l2"]) == 5


def test_metrics_of_pairs_and_their_floors_are_their_definitions(tmp_path: Path) -> None:
    """Partners of a real volume are volumes of other people; the mean leaves the volume itself out."""
    prepared = a_set(tmp_path / "set", 12, 3, subjects=5)
    made, real = torch.from_numpy(blobs(9, 5)), torch.from_numpy(prepared.volumes("all"))
    found = Suite(prepared, FLAT).volumes(batches(made.numpy(), 4)).metrics

    def nearest(volume: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return psnr(volume[None].expand_as(others), others).max()

    values = {
        "ms-ssim": ms_ssim(made[:-1], made[1:]),
        "psnr-nearest": torch.stack([nearest(volume, real) for volume in made]),
        "psnr-mean": psnr(made, real.mean(0, keepdim=True)),
    }
    for name, value in values.items():
        assert found[name].value == pytest.approx(float(value.mean()), rel=1e-4), name

    people = np.array(RealSet(prepared).subjects)
    order = np.random.default_rng(0).permutation(15)
    first, second = np.stack([order, np.roll(order, -1)])[:, people[order] != people[np.roll(order, -1)]]
    floors = {
        "ms-ssim": ms_ssim(real[first], real[second]),
        "psnr": psnr(real[first], real[second]),
        "psnr-nearest": torch.stack([nearest(real[i], real[people != people[i]]) for i in first]),
        "psnr-mean": psnr(real[first], (real.sum(0, keepdim=True) - real[first]) / 14),
    }
    for name, value in floors.items():
        assert found[name].real == pytest.approx(float(value.mean()), rel=1e-3), name
