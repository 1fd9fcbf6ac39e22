import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics import kernel_distance


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Double loops over pairs of different samples."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((np.dot(x, y) / len(x) + 1) ** 3)

    n, m = len(a), len(b)
    inside_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    inside_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(kernel(x, y) for x in a for y in b) / (n * m)
    return inside_a + inside_b - 2 * across


@pytest.mark.parametrize(("n", "m", "f"), [(2, 2, 1), (7, 5, 3), (20, 31, 64)])
def test_it_is_its_definition(n: int, m: int, f: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(n, f)), rng.normal(0.3, 1.2, size=(m, f))
    assert kernel_distance(a, b) == pytest.approx(by_definition(a, b), rel=1e-9)
    assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a), rel=1e-12)


def test_few_samples_do_not_raise_it() -> None:
    rng = np.random.default_rng(0)
    small = [kernel_distance(rng.normal(size=(10, 8)), rng.normal(size=(10, 8))) for _ in range(400)]
    error = np.std(small) / np.sqrt(len(small))
    assert abs(np.mean(small)) < 4 * error
    assert min(small) < 0 < max(small)


def test_one_sample_is_refused() -> None:
    with pytest.raises(VoxflateError, match="at least 2 samples of each set, got 1 and 3"):
        kernel_distance(np.zeros((1, 4)), np.zeros((3, 4)))
