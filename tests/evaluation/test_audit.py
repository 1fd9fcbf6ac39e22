"""Planted copies are found, and volumes that are no copies are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from tests.evaluation.sets import write_set
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Audit, Auditor
from voxflate.metrics import extractor
from voxflate.metrics.copies import Neighbours

SHAPE = (16, 16, 16)
N_TRAIN, N_HELDOUT, N_GENERATED = 50, 10, 80
COPIES = 4  # 5% of the generated volumes


def brains(n: int, seed: int) -> np.ndarray:
    """Volumes of the built-in cohort, [n, 1, D, H, W] in [-1, 1], air at -1."""
    from voxflate.data.synthetic.cohort import make_brain

    volumes = np.stack([make_brain(index, SHAPE, seed) for index in range(n)])[:, None]
    return (np.clip(volumes / 900, 0, 1) * 2 - 1).astype(np.float32)


@pytest.fixture(scope="module")
def cohort() -> np.ndarray:
    return brains(N_TRAIN + N_HELDOUT + N_GENERATED, seed=0)


@pytest.fixture(scope="module")
def prepared(cohort: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    train, heldout = cohort[:N_TRAIN], cohort[N_TRAIN : N_TRAIN + N_HELDOUT]
    subjects = [f"subject-{i}" for i in range(N_TRAIN + N_HELDOUT)]
    return write_set(tmp_path_factory.mktemp("audit") / "set", train, heldout, subjects)


def copied(volume: np.ndarray, number: int) -> np.ndarray:
    """A copy that is hard to see: shifted, noised, every other one flipped left to right."""
    rng = np.random.default_rng(number)
    shifted = np.roll(volume, rng.integers(-2, 3, 3), (1, 2, 3))
    if number % 2:
        shifted = shifted[..., ::-1]
    return np.clip(shifted + rng.normal(0, 0.06, volume.shape), -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def audit(prepared: PreparedSet, cohort: np.ndarray) -> Audit:
    copies = np.stack([copied(cohort[3 * number], number) for number in range(COPIES)])
    fresh = cohort[N_TRAIN + N_HELDOUT :][: N_GENERATED - COPIES]
    auditor = Auditor(prepared, extractor("random"))
    return auditor.run([copies, fresh])


def test_planted_copies_are_found_with_their_originals(audit: Audit) -> None:
    found = [number for number in audit.flagged if number < COPIES]
    assert len(found) >= 0.95 * COPIES
    assert [audit.samples[number].neighbour for number in found] == [3 * number for number in found]
    assert {audit.samples[number].flip for number in range(1, COPIES, 2)} == {"left-right"}


def test_false_alarms_are_few(audit: Audit) -> None:
    alarms = [number for number in audit.flagged if number >= COPIES]
    # Of 76 volumes a true rate of 5% flags up to 9 in 99 of 100 cohorts.
    assert len(alarms) <= binom.ppf(0.99, N_GENERATED - COPIES, 0.05)
    # What the audit says of unknown people holds for these.
    assert audit.false_alarms is not None
    low, high = (binom.ppf(side, N_GENERATED - COPIES, audit.false_alarms) for side in (0.005, 0.995))
    assert low <= len(alarms) <= high
    assert audit.share == pytest.approx((COPIES + len(alarms)) / N_GENERATED)


def test_pairs_are_kept_for_the_report(audit: Audit, cohort: np.ndarray) -> None:
    assert set(audit.pairs) >= set(range(COPIES))
    np.testing.assert_allclose(audit.pairs[2][1], cohort[6], atol=1e-4)


def test_volumes_are_audited_as_they_are_delivered(prepared: PreparedSet, cohort: np.ndarray) -> None:
    raw = cohort[-4:] * 1.3
    found = [Auditor(prepared, extractor("random")).run([x]).samples for x in (raw, raw.clip(-1, 1))]
    assert found[0] == found[1]


def test_audit_json_has_plain_values(audit: Audit) -> None:
    import json

    content = json.loads(json.dumps(audit.as_dict()))
    assert content["n-null"] == N_TRAIN + N_HELDOUT
    assert len(content["samples"]) == N_GENERATED
    low, high = content["flagged-share-interval"]
    assert low < content["flagged-share"] < high
    low, high = content["false-alarms-interval"]
    assert low < content["false-alarms"] < high
    assert content["verdict"] == audit.verdict
    assert content["remark"] == ""


def test_limits_are_those_of_the_values_that_are_shown(audit: Audit) -> None:
    limits = audit.as_dict()["flagged-if"]
    for number, near in enumerate(audit.samples):
        beyond = {
            "correlation": near.correlation > limits["correlation above"],
            "lead": near.lead < limits["lead below"],
            "features": near.features < limits["features below"],
        }
        assert tuple(name for name, is_beyond in beyond.items() if is_beyond) == audit.flagged.get(number, ())


def test_many_flagged_volumes_of_one_scan_are_remarked(prepared: PreparedSet, cohort: np.ndarray) -> None:
    copies = np.stack([copied(cohort[3], number) for number in range(4)] + [copied(cohort[6], 4)])
    audit = Auditor(prepared, extractor("random")).run([copies])
    assert audit.remark.startswith("4 of the 5 flagged volumes are nearest to the same training volume: ")
    assert audit.verdict == "more"


def test_other_scans_of_the_same_subject_are_no_evidence(tmp_path: Path, cohort: np.ndarray) -> None:
    # Every subject was scanned twice: among each other these are copies, yet the thresholds stay useful.
    twice = np.concatenate([cohort[:10], cohort[:10]])
    subjects = [f"subject-{i % 10}" for i in range(20)] + ["other"]
    prepared = write_set(tmp_path / "set", twice, cohort[-1:], subjects)
    audit = Auditor(prepared, extractor("random")).run([np.stack([copied(cohort[4], 1)])])
    assert audit.thresholds["correlation"] > 0.1
    assert 0 in audit.flagged


def test_a_scan_under_two_names_does_not_blind_the_audit(tmp_path: Path, cohort: np.ndarray) -> None:
    # Its two volumes are as near as copies to each other, and would set every threshold to 0.
    train, subjects = cohort[:20].copy(), [f"subject-{i}" for i in range(21)]
    train[10] = train[3]
    prepared = write_set(tmp_path / "set", train, cohort[-1:], subjects)
    audit = Auditor(prepared, extractor("random")).run([np.stack([cohort[3], copied(cohort[4], 1)])])
    assert audit.people == 20
    assert set(audit.flagged) == {0, 1}
    assert audit.samples[0].subject in ("subject-3", "subject-10")


def test_what_cannot_be_audited_is_one_line(
    prepared: PreparedSet, tmp_path: Path, cohort: np.ndarray
) -> None:
    auditor = Auditor(prepared, extractor("random"))
    with pytest.raises(VoxflateError, match="no generated volumes"):
        auditor.run([])
    with pytest.raises(VoxflateError, match="NaN"):
        auditor.run([np.full((2, 1, *SHAPE), np.nan, np.float32)])
    few = write_set(tmp_path / "few", cohort[:4], cohort[4:6], ["a", "a", "b", "b", "c", "d"])
    with pytest.raises(VoxflateError, match="of 2 subjects are too few"):
        Auditor(few, extractor("random"))


def test_correlation_is_one_for_a_shifted_flipped_volume_of_the_set() -> None:
    rng = np.random.default_rng(0)
    volumes = torch.from_numpy(rng.uniform(-1, 1, (5, 1, 8, 12, 16)).astype(np.float32))
    values, flips = Neighbours(volumes).correlations(volumes[3].roll((1, -2, 2), (1, 2, 3)).flip(3))
    assert int(values.argmax()) == 3
    assert int(flips[3]) == 3
    assert values[3] > 0.8  # not 1: what left on one side is smoothed with another neighbour
