"""What a loaded generator can do beside sampling: styles, interpolation, mixing, inversion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import voxflate
from tests.sharing.generators import an_export
from voxflate.metrics.psnr import psnr
from voxflate.sampling.inversion import Whitening
from voxflate.sampling.styles import styles_of_codes

CLOSE = 1e-5


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> voxflate.TrainedGenerator:
    return voxflate.load(an_export(tmp_path_factory.mktemp("x") / "generator", stages=3))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> voxflate.TrainedGenerator:
    folder = tmp_path_factory.mktemp("x") / "generator"
    network = {"base": (1, 1, 1), "stages": 5, "channels": 64}
    return voxflate.load(an_export(folder, model="wgan-gp", random=False, **network))


@pytest.mark.parametrize("name", ["generator", "comparison"])
def test_rendering_the_styles_of_subjects_gives_their_samples(
    name: str, request: pytest.FixtureRequest
) -> None:
    one: voxflate.TrainedGenerator = request.getfixturevalue(name)
    styles = one.styles(3, seed=2, truncation=0.6, first=4)
    expected = one.sample(3, seed=2, truncation=0.6, first=4)
    for number in range(3):
        found = one.render(styles[number : number + 1], subject=4 + number, seed=2)
        np.testing.assert_allclose(found[0], expected[number], atol=CLOSE)
    np.testing.assert_allclose(one.render(styles, batch=2), one.render(styles), atol=CLOSE)


def test_noise_is_left_out_or_that_of_one_subject(generator: voxflate.TrainedGenerator) -> None:
    styles = generator.styles(1)
    without, with_0, with_1 = (generator.render(styles, subject=subject) for subject in (None, 0, 1))
    for a, b in ((without, with_0), (with_0, with_1)):
        assert np.abs(np.asarray(a) - b).max() > 0.01


@pytest.mark.parametrize("name", ["generator", "comparison"])
def test_interpolation_begins_with_one_subject_and_ends_with_the_style_of_another(
    name: str, request: pytest.FixtureRequest
) -> None:
    one: voxflate.TrainedGenerator = request.getfixturevalue(name)
    walk = one.interpolate(3, 8, 5, truncation=0.8)
    assert walk.shape == (5, *one.shape)
    np.testing.assert_allclose(walk[0], one.sample(1, first=3, truncation=0.8)[0], atol=CLOSE)
    end = one.render(one.styles(1, first=8, truncation=0.8), subject=3)
    np.testing.assert_allclose(walk[-1], end[0], atol=CLOSE)
    halfway = (one.styles(1, first=3, truncation=0.8) + one.styles(1, first=8, truncation=0.8)) / 2
    np.testing.assert_allclose(walk[2], one.render(halfway, subject=3)[0], atol=CLOSE)
    np.testing.assert_array_equal(walk.affine, one.affine)


def test_mixing_takes_the_stages_that_are_asked_for(generator: voxflate.TrainedGenerator) -> None:
    first = np.asarray(generator.sample(1, first=3))
    np.testing.assert_allclose(generator.mix(3, 8, []), first, atol=CLOSE)
    all_of_second = generator.render(generator.styles(1, first=8), subject=3)
    np.testing.assert_allclose(generator.mix(3, 8, [0, 1, 2]), all_of_second, atol=CLOSE)
    found = [np.asarray(generator.mix(3, 8, [stage])) for stage in range(3)]
    for one in found:
        assert np.abs(one - first).max() > 0.001
    styles = generator.styles(1, first=3)
    styles[:, 3:5] = generator.styles(1, first=8)[:, :1]  # the layers of stage 2: image of 1, convolutions
    styles[:, 5:] = generator.styles(1, first=8)[:, :1]
    np.testing.assert_allclose(generator.render(styles, subject=3), found[2], atol=CLOSE)


def test_whitened_styles_have_the_moments_of_the_samples_behind_the_activation(
    generator: voxflate.TrainedGenerator,
) -> None:
    whitening = Whitening(generator.network)
    u = torch.randn(20_000, 1, whitening.size, generator=torch.Generator().manual_seed(0))
    z = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(1))
    mine = torch.nn.functional.leaky_relu(whitening.styles(u)[:, 0], 5)
    theirs = torch.nn.functional.leaky_relu(styles_of_codes(generator.network, z, 1.0)[:, 0], 5)
    scale = theirs.std(dim=0)
    np.testing.assert_allclose((mine.mean(0) - theirs.mean(0)) / scale, 0, atol=0.08)
    np.testing.assert_allclose(torch.corrcoef(mine.T), torch.corrcoef(theirs.T), atol=0.08)
    np.testing.assert_allclose(mine.std(dim=0) / scale, 1, atol=0.08)


def test_inversion_finds_a_sample_again_and_is_repeatable(generator: voxflate.TrainedGenerator) -> None:
    given = np.asarray(generator.sample(2, first=5, truncation=0.7))
    seen: list[tuple[int, int]] = []
    found = generator.invert(given, steps=80, progress=lambda *step: seen.append(step))
    assert seen == [(step, 80) for step in range(1, 81)]
    start = generator.render(generator.styles(1, truncation=0), subject=None)
    before = psnr(torch.from_numpy(given), torch.from_numpy(np.asarray(start))).numpy()
    assert (found.psnr > before + 8).all(), (found.psnr, before)
    np.testing.assert_allclose(
        found.psnr, 10 * np.log10(4 / ((found.rendered - given) ** 2).mean(axis=(1, 2, 3))), rtol=1e-4
    )
    again = generator.invert(given, steps=80)
    np.testing.assert_array_equal(found.styles, again.styles)
    np.testing.assert_array_equal(found.rendered, again.rendered)
    quiet = generator.invert(given, steps=80, fit_noise=False)
    assert all((noise == 0).all() for noise in quiet.noise)
    np.testing.assert_allclose(generator.render(quiet.styles), quiet.rendered, atol=1e-4)
    assert (quiet.psnr < found.psnr).all()


def test_less_tolerance_comes_closer_with_rarer_codes(generator: voxflate.TrainedGenerator) -> None:
    given = np.asarray(generator.sample(1, first=9))[0]
    strict, loose = (generator.invert(given, steps=80, tolerance=one) for one in (0.03, 1.0))
    assert strict.psnr[0] > loose.psnr[0] + 1
    assert strict.noise[-1].std() > loose.noise[-1].std()


def test_a_comparison_model_is_inverted_by_its_code(comparison: voxflate.TrainedGenerator) -> None:
    given = np.asarray(comparison.sample(1, first=2))
    found = comparison.invert(given, steps=100, tolerance=0.01)
    assert found.noise == ()
    before = np.mean((np.asarray(comparison.sample(1, truncation=0)) - given) ** 2)
    assert np.mean((found.rendered - given) ** 2) < before / 4


def test_mistakes_are_one_line(
    generator: voxflate.TrainedGenerator, comparison: voxflate.TrainedGenerator
) -> None:
    def refused(match: str, function: Any, *arguments: Any, **options: Any) -> None:
        with pytest.raises(voxflate.VoxflateError, match=match) as caught:
            function(*arguments, **options)
        assert "\n" not in str(caught.value)

    zeros = np.zeros(generator.shape, np.float32)
    refused(r"stages \[3\]: this generator has stages 0 to 2", generator.mix, 0, 1, [3])
    refused("model = wgan-gp has no styles", comparison.mix, 0, 1, [0])
    refused("n and batch must be at least 1", generator.interpolate, 0, 1, 1)
    refused(r"styles must be \[n, 6, 6\], got \[2, 6\]", generator.render, np.zeros((2, 6)))
    refused("got an array of", generator.invert, zeros[1:])
    refused("NaN or infinite", generator.invert, zeros + np.inf)
    refused("must be above 0", generator.invert, zeros, tolerance=0)


def test_the_command_writes_the_reconstruction_at_the_scans_place(tmp_path: Path) -> None:
    import nibabel as nib
    from typer.testing import CliRunner

    from voxflate.cli import app

    run = an_export(tmp_path / "generator")
    scan = tmp_path / "scan.nii.gz"
    affine = np.diag([1.5, 1.5, 2.5, 1])
    affine[:3, 3] = -20, 5, 7
    values = np.random.default_rng(0).uniform(100, 900, (8, 8, 4)).astype(np.float32)
    values[:2] = 0
    nib.save(nib.Nifti1Image(values, affine), scan)

    def shown(status: int, *arguments: object) -> str:
        words = ["invert", str(scan), str(run), "--out", *map(str, arguments)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == status, result.output
        return result.output

    out = tmp_path / "out" / "found.nii.gz"
    assert "steps = 400" in shown(0, out, "--dry-run")
    assert not out.parent.exists()
    assert "name must end in .nii" in shown(2, tmp_path / "x.png")
    text = shown(0, out, "--steps", 30)
    found = nib.load(out)
    assert found.shape == (8, 8, 4)
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)
    assert found.get_fdata().min() >= 0
    assert 500 < found.get_fdata().max() <= values.max()
    decibels = float(text.split("PSNR ")[1].split(" dB")[0])
    low, high = np.percentile(values, [0.1, 99.9])
    error = (found.get_fdata() - np.clip(values, low, high)) * 2 / (high - low)
    assert decibels == pytest.approx(10 * np.log10(4 / np.mean(error**2)), abs=0.3)
    assert "exists already" in shown(2, out)


def test_the_python_of_the_how_to_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_export(tmp_path / "brains-generator")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(block, "sharing.md", "exec"), {})
