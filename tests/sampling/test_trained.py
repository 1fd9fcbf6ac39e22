"""What a loaded generator can do beside sampling: styles, interpolation, mixing, inversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import voxflate
from tests.sharing.generators import an_export
from tests.strategies import PAIRS
from voxflate.cli import app
from voxflate.data.channels import Layout
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


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> voxflate.TrainedGenerator:
    """Two modalities, a mask of two classes, sex and age."""
    folder = tmp_path_factory.mktemp("x") / "generator"
    return voxflate.load(an_export(folder, channels=8, layout=PAIRS))


@pytest.mark.parametrize("name", ["generator", "comparison", "pairs"])
def test_rendering_the_styles_of_subjects_gives_their_samples(
    name: str, request: pytest.FixtureRequest
) -> None:
    one: voxflate.TrainedGenerator = request.getfixturevalue(name)
    styles = one.styles(3, seed=2, truncation=0.6, first=4)
    expected = one.sample(3, seed=2, truncation=0.6, first=4)
    for number in range(3):
        found = one.render(styles[number : number + 1], subject=4 + number, seed=2)
        np.testing.assert_allclose(found[0], expected[number], atol=CLOSE)
        np.testing.assert_array_equal(found[0].masks, expected[number].masks)
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


def test_labels_are_part_of_the_styles(pairs: voxflate.TrainedGenerator) -> None:
    asked = {"sex": "M", "age": 70}
    styles = pairs.styles(2, first=4, labels=asked)
    expected = pairs.sample(2, first=4, labels=asked)
    assert expected.masks is not None
    assert set(np.unique(expected.masks)) == {0, 2, 7}
    for number in range(2):
        found = pairs.render(styles[number : number + 1], subject=4 + number)
        np.testing.assert_allclose(found[0], expected[number], atol=CLOSE)
        np.testing.assert_array_equal(found[0].masks, expected[number].masks)
    assert np.abs(styles - pairs.styles(2, first=4, labels={"sex": "M", "age": 30})).max() > 0.01
    for labels in (None, asked):  # drawn for each, or given
        walk, mixed = pairs.interpolate(4, 5, 3, labels=labels), pairs.mix(4, 5, [0, 1], labels=labels)
        assert walk.shape == (3, 2, *pairs.shape)
        first = pairs.sample(1, first=4, labels=labels)
        np.testing.assert_allclose(walk[0], first[0], atol=CLOSE)
        np.testing.assert_array_equal(walk[0].masks, first[0].masks)
        np.testing.assert_allclose(walk[-1], mixed[0], atol=CLOSE)
        np.testing.assert_array_equal(walk[-1].masks, mixed[0].masks)
    with pytest.warns(UserWarning, match="label age = 99: outside"):
        pairs.styles(labels={"age": 99})


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


def test_a_pair_is_inverted_with_or_without_its_mask(pairs: voxflate.TrainedGenerator) -> None:
    given = pairs.sample(2, first=5, truncation=0.7, labels={"age": 30})
    start = np.asarray(pairs.render(pairs.styles(1, truncation=0)))
    both = pairs.invert(given, masks=given.masks, steps=60)
    alone = pairs.invert(given, steps=60)
    for found in (both, alone):
        assert found.rendered.shape == given.shape
        error = ((found.rendered - np.asarray(given)) ** 2).mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(found.psnr, 10 * np.log10(4 / error), rtol=1e-4)
        assert (error < ((start - np.asarray(given)) ** 2).mean(axis=(1, 2, 3, 4)) / 2).all()
        assert found.masks is not None
        assert found.masks.shape == (2, *pairs.shape)
    agree = [(found.masks == given.masks).mean() for found in (both, alone)]
    assert agree[0] > agree[1] > 0.4
    assert agree[0] > 0.9
    one = pairs.invert(given[0], masks=given[0].masks, steps=2)
    assert one.rendered.shape == (1, 2, *pairs.shape)


def test_a_pair_of_one_modality_has_no_axis_for_it(tmp_path: Path) -> None:
    layout = Layout((PAIRS.channels[0], *PAIRS.channels[2:]))
    pairs = voxflate.load(an_export(tmp_path / "generator", channels=8, layout=layout))
    given = pairs.sample(2, truncation=0.7)
    assert given.masks is not None
    walk, found = pairs.interpolate(0, 1, 2, truncation=0.7), pairs.invert(given, masks=given.masks, steps=2)
    assert given.shape == walk.shape == found.rendered.shape == (2, *pairs.shape)
    assert found.masks is not None
    assert found.masks.shape == given.masks.shape
    np.testing.assert_array_equal(walk[0].masks, given[0].masks)


def test_known_labels_narrow_the_styles_that_inversion_looks_for(pairs: voxflate.TrainedGenerator) -> None:
    """From one step, the styles are about the mean ones of the subjects that the prior holds."""
    given = pairs.sample(1, first=5)
    z = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    for labels in ({"sex": "F", "age": 20}, {"sex": "M", "age": 80}):
        told = np.repeat(PAIRS.encode([labels]), 2000, axis=0)
        mean = torch.nn.functional.leaky_relu(styles_of_codes(pairs.network, z, 1.0, told)[:, 0], 5).mean(0)
        found = pairs.invert(given, labels=labels, steps=1, fit_noise=False).styles[0, 0]
        near = torch.nn.functional.leaky_relu(torch.from_numpy(found), 5) - mean
        other = pairs.invert(given, steps=1, fit_noise=False).styles[0, 0]
        far = torch.nn.functional.leaky_relu(torch.from_numpy(other), 5) - mean
        assert near.norm() < far.norm()


def test_mistakes_are_one_line(
    generator: voxflate.TrainedGenerator,
    comparison: voxflate.TrainedGenerator,
    pairs: voxflate.TrainedGenerator,
) -> None:
    def refused(match: str, function: Any, *arguments: Any, **options: Any) -> None:
        with pytest.raises(voxflate.VoxflateError, match=match) as caught:
            function(*arguments, **options)
        assert "\n" not in str(caught.value)

    zeros = np.zeros(generator.shape, np.float32)
    refused(r"stages \[3\]: this generator has stages 0 to 2", generator.mix, 0, 1, [3])
    refused("model = wgan-gp has no styles", comparison.mix, 0, 1, [0])
    refused("steps must be at least 2, for both ends, got 1", generator.interpolate, 0, 1, 1)
    refused(r"styles must be \[n, 6, 6\], got \[2, 6\]", generator.render, np.zeros((2, 6)))
    refused("seed and first must be at least 0", generator.render, generator.styles(1), subject=-1)
    refused("n and batch must be at least 1", generator.render, generator.styles(1), batch=0)
    refused("above 0 and finite", generator.invert, zeros, tolerance=np.inf)
    refused("got an array of", generator.invert, zeros[1:])
    refused("NaN or infinite", generator.invert, zeros + np.inf)
    refused("values of up to 1000 in size, prepared ones are from -1 to 1", generator.invert, zeros - 1000)
    refused("styles have NaN", generator.render, generator.styles(1) * np.nan)
    refused("must be above 0", generator.invert, zeros, tolerance=0)
    refused("has no masks; leave the mask out", generator.invert, zeros, masks=zeros)
    two = np.zeros((2, *pairs.shape), np.float32)
    refused("got an array of", pairs.invert, zeros)
    refused(r"masks must be of shape \(1, 4, 8, 8\)", pairs.invert, two, masks=two)
    refused("the mask holds 3; its classes are 0", pairs.invert, two, masks=two[0] + 3)
    refused("the prepared set has F, M", pairs.invert, two, labels={"sex": "X"})
    refused("the generator does not know it", generator.styles, labels={"sex": "F"})
    refused("seed and first must be at least 0", pairs.mix, -1, 2, [0])


def test_the_command_writes_the_reconstruction_at_the_scans_place(tmp_path: Path) -> None:
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
    assert "already exists" in shown(2, out)


def test_the_command_takes_modalities_mask_and_labels(tmp_path: Path) -> None:
    run = an_export(tmp_path / "generator", channels=8, layout=PAIRS)
    names = ("scan_t1", "scan_t2", "scan_seg", "other", "moved")
    t1, t2, seg, other, moved = (tmp_path / f"{name}.nii.gz" for name in names)
    scan = voxflate.load(run).sample(1, first=3, truncation=0.7, labels={"age": 60})
    scan.save(tmp_path / "scan.nii.gz")
    affine = np.diag([1.5, 1.5, 2.5, 1])
    for path in (t1, t2, seg):
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine), path)
    labels = np.asarray(nib.load(seg).dataobj)
    nib.save(nib.Nifti1Image(labels + 1, affine), other)
    nib.save(nib.Nifti1Image(labels, affine + np.outer([1, 1, 1, 0], [0, 0, 0, 9])), moved)
    out = tmp_path / "found.nii.gz"

    def shown(status: int, *options: object) -> str:
        words = ["invert", t1, run, "--out", out, "--steps", 40, *options]
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == status, result.output
        return " ".join(result.output.split())

    both = ("--channel", f"t2={t2}")
    assert "the generator needs t2=FILE, got none" in shown(2)
    assert "write it as NAME=FILE" in shown(2, "--channel", "t2")
    assert f"{tmp_path / 'no.nii'}: no such file; give a scan" in shown(
        2, *both, "--mask", tmp_path / "no.nii"
    )
    assert "does not match its scan" in shown(2, *both, "--mask", moved)
    assert "has the classes 1, 3, 8" in shown(2, *both, "--mask", other)
    assert "did you mean age?" in shown(2, *both, "--label", "agee=4")
    assert 'age = "60"' in shown(0, *both, "--label", "age=60", "--dry-run")
    assert not list(tmp_path.glob("found*"))
    text = shown(0, *both, "--mask", seg, "--label", "age=95")
    assert "warning: label age = 95: outside" in text
    found = {name: nib.load(tmp_path / f"found_{name}.nii.gz") for name in ("t1", "t2", "seg")}
    for one, scale, low, high in (("t1", 300, 12.5, 312.5), ("t2", 50, 0, 50)):
        values, given = found[one].get_fdata(), nib.load(tmp_path / f"scan_{one}.nii.gz").get_fdata()
        assert low <= values.min() < values.max() <= high
        assert np.sqrt(np.mean((values - given) ** 2)) < scale / 8, one
    mask = np.asarray(found["seg"].dataobj)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 2, 7}
    assert (mask == labels).mean() > 0.8, (mask == labels).mean()
    for one in found.values():
        np.testing.assert_allclose(one.affine, affine, atol=1e-4)
        assert b"synthetic" in one.header["descrip"].item()
    assert f"{tmp_path / 'found_t1.nii.gz'}: already exists" in shown(2, *both)
