from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.sampling.directions import direction


def codes(n: int = 400, size: int = 6) -> Any:
    """Correlated style codes whose axes vary by very different amounts, [n, size]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, size)) @ rng.standard_normal((size, size)) * np.geomspace(1, 20, size) + 3


def test_a_linear_label_is_found_and_a_step_changes_it_by_one() -> None:
    ws = codes()
    true = np.array([0.5, 0, -0.2, 0, 0.1, 0])
    values = 40 + ws @ true + 0.1 * np.random.default_rng(1).standard_normal(len(ws))
    found = direction(ws, values)
    assert found.r2 > 0.9
    np.testing.assert_allclose(found.predict(ws + 2 * found.step) - found.predict(ws), 2)
    assert (ws + found.step) @ true - ws @ true == pytest.approx(1, abs=0.1)
    assert np.std(found.predict(ws) - values) < 0.3 * np.std(values)


def test_the_step_is_the_most_plausible_one() -> None:
    ws = codes()
    values = ws @ np.array([1.0, 0.5, 0, 0, 0, 0])
    found = direction(ws, values)
    inverse = np.linalg.inv(np.cov(ws.T))

    def length(step: Any) -> float:
        return float(step @ inverse @ step)

    along_slope = found.slope / (found.slope @ found.slope)  # raises the prediction by one too
    assert found.predict(ws[:1] + along_slope) - found.predict(ws[:1]) == pytest.approx(1)
    assert length(found.step) < 0.9 * length(along_slope)
    rng = np.random.default_rng(2)
    for _ in range(20):
        other = found.step + 0.1 * rng.standard_normal(6) * np.abs(found.step).max()
        other /= found.slope @ other
        assert length(found.step) <= length(other) * (1 + 1e-9)


def test_a_label_that_has_nothing_to_do_with_the_codes_is_not_predicted() -> None:
    ws = codes(100)
    assert direction(ws, np.random.default_rng(3).standard_normal(100)).r2 < 0.1


def test_codes_of_several_layers_keep_their_shape() -> None:
    ws = codes(200, 12).reshape(200, 3, 4)
    values = ws[:, 1, 2] / ws[:, 1, 2].std()
    found = direction(ws, values)
    assert found.step.shape == found.slope.shape == (3, 4)
    np.testing.assert_allclose(found.predict(ws + found.step), found.predict(ws) + 1)


@pytest.mark.parametrize(
    ("ws", "values", "match"),
    [
        (np.zeros((20, 3)), np.arange(19), r"got \(20, 3\) and \(19,\)"),
        (np.zeros(20), np.arange(20), "needs codes"),
        (np.zeros((9, 3)), np.arange(9), "at least 10 labelled codes, got 9"),
        (np.full((20, 3), np.nan), np.arange(20), "NaN"),
        (np.zeros((20, 3)), np.full(20, 7), "all labels are 7"),
        (np.ones((20, 3)), np.arange(20), "all 20 codes are equal"),
    ],
)
def test_what_gives_no_direction_is_refused(ws: Any, values: Any, match: str) -> None:
    with pytest.raises(VoxflateError, match=match):
        direction(ws, values)
