import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics import kernel_distance
from voxflate.metrics.gram import Gram
from voxflate.metrics.kid import weighted_kernel_distance


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


def of_volumes(n: int, slices: int, rng: np.random.Generator) -> np.ndarray:
    """Features of the slices of n volumes, [n x slices, 8]: slices of one volume are alike."""
    return np.repeat(rng.normal(size=(n, 8)), slices, axis=0) + 0.3 * rng.normal(size=(n * slices, 8))


@pytest.mark.parametrize("m", [30, 6], ids=["many", "few"])
def test_slices_of_one_volume_do_not_bias_it(m: int) -> None:
    rng = np.random.default_rng(m)
    found = [kernel_distance(of_volumes(30, 5, rng), of_volumes(m, 5, rng), 5) for _ in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))


def test_only_pairs_of_different_volumes_count() -> None:
    rng = np.random.default_rng(0)
    a, b = of_volumes(4, 3, rng), of_volumes(5, 3, rng)

    def inside(x: np.ndarray) -> float:
        kernel, owner = (x @ x.T / 8 + 1) ** 3, np.arange(len(x)) // 3
        return float(kernel[owner[:, None] != owner].mean())

    expected = inside(a) + inside(b) - 2 * np.mean((a @ b.T / 8 + 1) ** 3)
    assert kernel_distance(a, b, 3) == pytest.approx(expected, rel=1e-9)


def test_weights_of_slices_are_those_of_their_volumes() -> None:
    rng = np.random.default_rng(1)
    a, b = of_volumes(4, 3, rng), of_volumes(5, 3, rng)
    weighted = weighted_kernel_distance(Gram.of(a, b), 3)
    assert weighted(np.ones(12), np.ones(15))[""] == pytest.approx(kernel_distance(a, b, 3), rel=1e-9)
    without = np.array([1.0, 0.0, 1.0, 1.0]).repeat(3), np.ones(15)
    assert weighted(*without)[""] == pytest.approx(kernel_distance(a[without[0] > 0], b, 3), rel=1e-9)


PEOPLE = ["a", "b", "a", "c", "c", "c", "d"]


@pytest.mark.parametrize("slices", [1, 3])
def test_only_pairs_of_different_people_count(slices: int) -> None:
    rng = np.random.default_rng(2)
    a, b = of_volumes(5, slices, rng), of_volumes(len(PEOPLE), slices, rng)

    def inside(x: np.ndarray, owner: list[str]) -> float:
        kernel, whose = (x @ x.T / 8 + 1) ** 3, np.repeat(owner, slices)
        return float(kernel[whose[:, None] != whose].mean())

    expected = inside(a, list("vwxyz")) + inside(b, PEOPLE) - 2 * np.mean((a @ b.T / 8 + 1) ** 3)
    assert kernel_distance(a, b, slices, (None, PEOPLE)) == pytest.approx(expected, rel=1e-9)
    assert kernel_distance(b, a, slices, (PEOPLE, None)) == pytest.approx(expected, rel=1e-9)


def test_scans_of_one_person_do_not_bias_it() -> None:
    rng = np.random.default_rng(3)
    owners = None, np.arange(10).repeat(3).tolist()
    drawn = [(of_volumes(30, 1, rng), of_volumes(10, 3, rng)) for _ in range(300)]
    found = [kernel_distance(*pair, 1, owners) for pair in drawn]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    before = [kernel_distance(*pair) for pair in drawn]
    assert np.mean(before) > 20 * np.std(before) / np.sqrt(len(before))


@pytest.mark.parametrize("slices", [1, 3])
def test_people_with_one_scan_each_change_nothing(slices: int) -> None:
    """Not even the last bit, with or without weights."""
    rng = np.random.default_rng(4)
    a, b = of_volumes(6, slices, rng), of_volumes(9, slices, rng)
    alone = list("uvwxyz"), list("abcdefghi")
    assert kernel_distance(a, b, slices, alone) == kernel_distance(a, b, slices)
    counts = (rng.integers(0, 3, n).astype(float).repeat(slices) for n in (6, 9))
    of_people, of_volumes_alone = (
        weighted_kernel_distance(Gram.of(a, b), slices, owners) for owners in (alone, (None, None))
    )
    weights = tuple(counts)
    assert of_people(*weights) == of_volumes_alone(*weights)


def test_weights_of_people_are_those_of_repeated_scans() -> None:
    rng = np.random.default_rng(5)
    a, b = of_volumes(4, 1, rng), of_volumes(len(PEOPLE), 1, rng)
    weighted = weighted_kernel_distance(Gram.of(a, b), 1, (None, PEOPLE))
    drawn = np.array([{"a": 2, "b": 1, "c": 0, "d": 3}[who] for who in PEOPLE])
    again = b.repeat(drawn, 0), np.repeat(PEOPLE, drawn).tolist()
    expected = kernel_distance(a, again[0], 1, (None, again[1]))
    assert weighted(np.ones(4), drawn.astype(float))[""] == pytest.approx(expected, rel=1e-9)


def test_one_sample_is_refused() -> None:
    with pytest.raises(VoxflateError, match="at least 2 samples of each set, got 1 and 3"):
        kernel_distance(np.zeros((1, 4)), np.zeros((3, 4)))
    with pytest.raises(VoxflateError, match="at least 2 samples of each set, got 1 and 2"):
        kernel_distance(np.zeros((3, 4)), np.zeros((6, 4)), 3)
    with pytest.raises(VoxflateError, match="at least 2 samples of each set, got 3 and 1"):
        kernel_distance(np.zeros((3, 4)), np.zeros((2, 4)), 1, (None, ["a", "a"]))
