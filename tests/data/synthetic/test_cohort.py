from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.prepare import prepare
from voxflate.data.synthetic import cohort
from voxflate.data.synthetic.cohort import load_template, make_brain, make_cohort
from voxflate.data.synthetic.fields import centres, exponential, sample, smooth_noise

SHAPE = (32, 32, 32)
with_maps = pytest.mark.skipif(
    find_spec("nilearn") is None, reason="the brain maps of nilearn are not installed"
)


def random_velocity(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([sample(smooth_noise(rng, 30.0, 4.0), centres((16, 16, 16))) for _ in range(3)])


def test_the_exponential_of_a_constant_is_a_translation() -> None:
    velocity = np.broadcast_to(np.array([3.0, -2, 1]).reshape(3, 1, 1, 1), (3, 4, 4, 4))
    np.testing.assert_allclose(exponential(velocity), velocity, atol=1e-12)


def test_going_back_undoes_going_there() -> None:
    velocity = random_velocity(0)
    there, back = exponential(velocity), exponential(-velocity)
    start = centres((16, 16, 16))
    away = start + there
    again = away + np.stack([sample(part, away) for part in back])
    inner = (slice(None), *[slice(3, -3)] * 3)
    assert np.abs(there).max() > 5
    assert np.abs(again - start)[inner].max() < 0.5


def test_deformations_do_not_fold() -> None:
    for seed in range(5):
        moved = centres((16, 16, 16)) + exponential(random_velocity(seed))
        jacobian = np.stack([np.stack(np.gradient(part, 12.0)) for part in moved])
        assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


@with_maps
def test_a_brain_is_a_function_of_seed_and_number() -> None:
    brain = make_brain(3, SHAPE, seed=1)
    np.testing.assert_array_equal(make_brain(3, SHAPE, seed=1), brain)
    assert np.abs(make_brain(4, SHAPE, seed=1) - brain).mean() > 10
    assert np.abs(make_brain(3, SHAPE, seed=2) - brain).mean() > 10


@with_maps
def test_brains_are_whole_bright_and_in_air_of_zero() -> None:
    for index in range(6):
        brain = make_brain(index, SHAPE, seed=0)
        pieces, count = ndimage.label(brain > 0)
        largest = np.bincount(pieces.ravel())[1:].max()
        assert largest > 0.98 * (brain > 0).sum()
        assert count < 10
        millilitres = (brain > 0).sum() * 6.25**3 / 1000
        assert 900 < millilitres < 2000
        assert not any(np.take(brain, side, axis).any() for axis in range(3) for side in (0, -1))


@with_maps
def test_brains_lie_as_in_the_template() -> None:
    """Turned by a few degrees but never flipped: brains are more like the template than like its mirrors."""
    tissue = load_template().tissues[1]
    small = sample(tissue, centres(SHAPE))
    mean = np.mean([make_brain(index, SHAPE, seed=0) for index in range(4)], axis=0)
    alike = [np.corrcoef(np.flip(small, axes).ravel(), mean.ravel())[0, 1] for axes in ((), (0,), (1,))]
    assert alike[0] > 0.6
    assert alike[0] > max(alike[1:]) + 0.05


@with_maps
def test_a_cohort_is_written_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = make_cohort(tmp_path / "brains", 2, SHAPE, progress=lambda *step: seen.append(step))
    assert seen == [(1, 2), (2, 2)]
    before = [path.stat().st_mtime_ns for path in paths]
    assert make_cohort(tmp_path / "brains", 3, SHAPE)[:2] == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    image = nib.load(paths[0])
    assert image.header.get_zooms() == (6.25, 6.25, 6.25)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert prepare(tmp_path / "brains", tmp_path / "set", "adni", (16, 32, 32)).stored("train").shape[0] == 2


@with_maps
def test_a_cohort_is_not_mixed_with_another(tmp_path: Path) -> None:
    make_cohort(tmp_path, 1, SHAPE)
    with pytest.raises(VoxflateError, match="choose another folder"):
        make_cohort(tmp_path, 1, SHAPE, seed=1)


def test_without_the_maps_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nowhere(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cohort, "distribution", nowhere)
    load_template.cache_clear()
    with pytest.raises(VoxflateError, match=r"pip install 'voxflate\[demo\]'"):
        make_cohort(tmp_path / "brains", 1, SHAPE)
    assert not (tmp_path / "brains").exists()
