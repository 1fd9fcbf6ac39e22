import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics import prdc


def by_brute_force(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(((x - y) ** 2).sum()))

    def radius(samples: np.ndarray, index: int) -> float:
        others = [distance(samples[index], y) for j, y in enumerate(samples) if j != index]
        return sorted(others)[k - 1]

    in_real = [[distance(x, y) < radius(real, i) for y in generated] for i, x in enumerate(real)]
    in_generated = [[distance(x, y) < radius(generated, j) for j, y in enumerate(generated)] for x in real]
    return {
        "precision": float(np.mean([any(row[j] for row in in_real) for j in range(len(generated))])),
        "recall": float(np.mean([any(row) for row in in_generated])),
        "density": sum(map(sum, in_real)) / (k * len(generated)),
        "coverage": float(np.mean([any(row) for row in in_real])),
    }


@pytest.mark.parametrize(("n", "m", "k"), [(7, 9, 2), (12, 8, 5), (20, 20, 3)])
def test_it_is_what_brute_force_counts(n: int, m: int, k: int) -> None:
    rng = np.random.default_rng(n)
    real, generated = rng.normal(size=(n, 4)), rng.normal(0.5, 0.8, size=(m, 4))
    assert prdc(real, generated, k) == pytest.approx(by_brute_force(real, generated, k), abs=1e-12)


def test_a_few_samples_repeated_are_precise_and_reach_little() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 4))
    alike = rng.normal(size=(200, 4))
    repeated = real[rng.integers(0, 4, 200)] + rng.normal(0, 1e-3, (200, 4))
    assert prdc(real, repeated)["precision"] == 1
    assert prdc(real, repeated)["recall"] < 0.1 < 0.6 < prdc(real, alike)["recall"]
    assert prdc(real, repeated)["coverage"] < 0.3 < 0.9 < prdc(real, alike)["coverage"]


def test_samples_far_away_are_no_good() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(50, 4))
    assert prdc(real, real + 100) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(VoxflateError, match="more than 5 samples in each set, got 5 real and 9"):
        prdc(np.zeros((5, 2)), np.zeros((9, 2)))
