import copy

import pytest
import torch

from tests.strategies import networks, random_tensor, run_config, write_prepared
from voxflate.config.build import Stream, build_gan, build_run_networks
from voxflate.gans import stylegan2
from voxflate.gans.gan import Gan, Shown
from voxflate.gans.settings import Settings
from voxflate.gans.stylegan2 import STYLEGAN2, lazy_adam
from voxflate.losses import non_saturating_d, r1_penalty

KINDS = ["2d", "planar", "3d"]


def gan_of(kind, **settings):
    planar = kind == "planar"
    generator, discriminator = networks(3 if kind == "3d" else 2, planar=planar, position=planar)
    networks_ = {"generator": generator, "discriminator": discriminator}
    return Gan(STYLEGAN2, networks_, Settings(**{"r1_every": 2, **settings}))


def batch_of(kind, gan, n=4, seed=0):
    reals = torch.tanh(random_tensor(n, 1, *gan.discriminator.shape, seed=seed, dtype=torch.float32))
    positions = torch.arange(n // 2).repeat_interleave(2) if kind == "planar" else None
    return reals, positions


def losses_of(gan):
    """The object that computes the losses of the gan's steps."""
    return gan.steps[0].loss.__self__


def take(gan, name, reals, positions=None):
    (step,) = (step for step in gan.steps if step.name == name)
    return gan.take(step, Shown(reals, positions))


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reuse", [False, True])
def test_a_step_of_one_network_leaves_the_other_untouched(kind, reuse):
    gan = gan_of(kind, reuse_fakes=reuse)
    reals, positions = batch_of(kind, gan)
    before_g, before_d = weights(gan.generator), weights(gan.discriminator)
    take(gan, "g", reals, positions)
    assert not torch.equal(weights(gan.generator), before_g)
    assert torch.equal(weights(gan.discriminator), before_d)
    assert all(parameter.grad is None for parameter in gan.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())
    after_g = weights(gan.generator)
    for parameter in gan.generator.parameters():
        parameter.grad = None
    take(gan, "d", reals, positions)
    take(gan, "r1", reals, positions)
    assert torch.equal(weights(gan.generator), after_g)
    assert all(parameter.grad is None for parameter in gan.generator.parameters())
    assert not torch.equal(weights(gan.discriminator), before_d)


@pytest.mark.parametrize("name", ["g", "d", "r1"])
@pytest.mark.parametrize("where", ["loss", "gradients"])
def test_a_step_that_raises_leaves_nothing_behind(name, where, monkeypatch):
    """It may fail in the loss, or later, when an optimizer is about to use its gradients."""
    gan = gan_of("3d", reuse_fakes=True, train_noise=False)
    reals, positions = batch_of("3d", gan)
    trained = {p: p.requires_grad for network in gan.networks.values() for p in network.parameters()}
    before = copy.deepcopy(gan.state_dict())

    def fail(*_):
        raise RuntimeError("interrupted")

    if where == "loss":
        losses = losses_of(gan)
        (loss,) = (step.loss for step in gan.steps if step.name == name)
        fakes = losses.fakes(Shown(reals, positions))  # leaves its mark in the mapping network
        losses._reusable[0] = fakes.detach()
        monkeypatch.setattr(type(losses), loss.__name__, fail)
        gan.steps = STYLEGAN2.steps(gan.networks, gan.settings)
    else:
        for optimizer in gan.optimizers.values():
            optimizer.register_step_pre_hook(fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        take(gan, name, reals, positions)
    assert {p: p.requires_grad for p in trained} == trained
    assert all(p.grad is None for p in trained)
    assert gan.generator.mapping._seen is None
    assert not losses_of(gan)._reusable
    for key, value in before.items():
        torch.testing.assert_close(gan.state_dict()[key], value, rtol=0, atol=0, msg=key)


def seeded(function, *args):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return function(*args)


def test_fakes_and_reals_do_not_mix_in_the_discriminators_step():
    gan = gan_of("3d", reuse_fakes=True)
    reals, _ = batch_of("3d", gan)
    fakes = 0.1 * reals.flip(0) - 0.5
    losses_of(gan)._reusable[0] = fakes
    expected = non_saturating_d(gan.discriminator(reals), gan.discriminator(fakes)).item()
    assert take(gan, "d", reals)["loss_d"].item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_below_the_group_does_not_mix_fakes_and_reals(tmp_path):
    config = run_config(write_prepared(tmp_path / "set"), training__batch=2, training__mbstd_group=4)
    gan = build_gan(config, build_run_networks(config))
    reals = torch.tanh(random_tensor(2, 1, 4, 8, 8, dtype=torch.float32))
    losses_of(gan)._reusable[0] = fakes = 0.1 * reals.flip(0) - 0.5
    expected = non_saturating_d(gan.discriminator(reals), gan.discriminator(fakes)).item()
    assert take(gan, "d", reals)["loss_d"].item() == pytest.approx(expected, rel=1e-5)


def test_the_penalty_is_taken_every_so_often_and_weighed_by_that():
    gan = gan_of("3d", r1_every=3, r1_gamma=0.5)
    reals, _ = batch_of("3d", gan)
    taken = ["r1" in gan.step(reals, None, number=number) for number in range(7)]
    assert taken == [True, False, False, True, False, False, True]
    seen = []
    gan.optimizers["discriminator"].register_step_pre_hook(
        lambda *_: seen.extend(parameter.grad for parameter in gan.discriminator.parameters())
    )
    expected = torch.autograd.grad(
        r1_penalty(gan.discriminator, reals) * 0.5 / 2 * 3,
        list(gan.discriminator.parameters()),
        allow_unused=True,
    )
    take(gan, "r1", reals)
    for gradient, known in zip(seen, expected, strict=True):
        assert (gradient is None) == (known is None)
        if known is not None:
            torch.testing.assert_close(gradient, known)


def test_without_penalty_there_is_none():
    gan = gan_of("2d", r1_gamma=0.0)
    assert "r1" not in gan.step(*batch_of("2d", gan), number=0)
    assert gan.optimizers["discriminator"].param_groups[0]["lr"] == 0.0025


def test_a_frozen_generator_stands_still_while_the_discriminator_learns():
    gan = gan_of("3d")
    before_g, before_d = weights(gan.generator), weights(gan.discriminator)
    losses = gan.step(*batch_of("3d", gan), number=1, train_g=False)
    assert torch.equal(weights(gan.generator), before_g)
    assert not torch.equal(weights(gan.discriminator), before_d)
    assert "loss_g" not in losses


@pytest.mark.parametrize("reuse", [False, True])
def test_fakes_are_reused_only_when_asked(reuse, monkeypatch):
    gan = gan_of("2d", reuse_fakes=reuse)
    made, shown = [], []
    losses = losses_of(gan)
    fakes, judge = losses.fakes, losses.judge
    monkeypatch.setattr(losses, "fakes", lambda *args: made.append(fakes(*args)) or made[-1])
    monkeypatch.setattr(losses, "judge", lambda *args, **kw: shown.append(args[0]) or judge(*args, **kw))
    gan.step(*batch_of("2d", gan), number=1)
    assert len(made) == (1 if reuse else 2)
    judged_by_d = shown[1]  # the fakes come first
    assert torch.equal(judged_by_d[:4], made[-1])
    assert not judged_by_d.requires_grad


def test_a_slice_is_judged_by_the_position_that_its_volume_would_tell():
    gan = gan_of("planar")
    told = []
    gan.discriminator.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    losses_of(gan).judge(torch.zeros(4, 1, 8, 8), torch.arange(4))
    torch.testing.assert_close(told[0], torch.linspace(-1, 1, 4))


def test_fakes_and_reals_are_augmented_before_they_are_judged(monkeypatch):
    gan = gan_of("3d", augmentations=("cutout",), augment_p=0.4)
    seen = []
    monkeypatch.setattr(stylegan2, "augment", lambda x, names, p, _: seen.append((len(x), names, p)) or x)
    gan.step(*batch_of("3d", gan), number=0)
    assert seen == [(4, ("cutout",), 0.4)] * 4  # fakes of G; fakes and reals of D; R1


@pytest.mark.parametrize("every", [0, 1, 16])
def test_lazy_adam_corrects_rate_and_betas(every):
    group = lazy_adam([torch.zeros(1, requires_grad=True)], 0.002, (0.5, 0.99), every).param_groups[0]
    c = every / (every + 1) if every else 1
    assert group["lr"] == pytest.approx(0.002 * c)
    assert group["betas"] == pytest.approx((0.5**c, 0.99**c))


def test_only_the_discriminator_is_corrected_and_rates_are_scaled_from_their_start():
    gan = gan_of("2d", lr_g=0.004, lr_d=0.002, r1_every=4)
    rates = [optimizer.param_groups[0] for optimizer in gan.optimizers.values()]
    for factor in (0.5, 0.25, 1.0):
        gan.scale_learning_rates(factor)
        assert [group["lr"] for group in rates] == pytest.approx([0.004 * factor, 0.002 * 0.8 * factor])


@pytest.mark.parametrize("kind", KINDS)
def test_state_comes_back_and_the_next_step_is_the_same(kind):
    gan = gan_of(kind)
    seeded(lambda: [gan.step(*batch_of(kind, gan, seed=i), number=i) for i in range(2)])
    state = copy.deepcopy(gan.state_dict())
    other = gan_of(kind)
    other.load_state_dict(state)
    for one in (gan, other):
        seeded(lambda one=one: one.step(*batch_of(kind, one, seed=9), number=2))
    assert torch.equal(weights(gan.generator), weights(other.generator))
    assert torch.equal(weights(gan.discriminator), weights(other.discriminator))


def test_a_state_that_comes_back_does_not_bring_its_learning_rates():
    gan, slower = gan_of("2d", lr_g=0.004), gan_of("2d", lr_g=0.001, lr_d=0.0005)
    gan.step(*batch_of("2d", gan), number=0)
    slower.load_state_dict(gan.state_dict())
    slower.scale_learning_rates(1.0)
    assert slower.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(0.001)
    assert slower.optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(0.0005 * 2 / 3)
    assert slower.optimizers["generator"].state_dict()["state"]


def test_the_stream_flips_left_and_right_and_nothing_else(tmp_path):
    prepared = write_prepared(tmp_path / "set")
    plain, flipped = (
        Stream(prepared, run_config(prepared, training__flip=flip).training, torch.device("cpu"))
        for flip in (False, True)
    )
    turned = 0
    for n_images in range(0, 40, 4):
        for one, other in zip(plain(n_images, 4)[0], flipped(n_images, 4)[0], strict=True):
            assert torch.equal(other, one) or torch.equal(other, one.flip(-1))
            turned += not torch.equal(other, one)
    assert 5 < turned < 35
    assert torch.equal(flipped(8, 4)[0], flipped(8, 4)[0])


def test_a_planar_stream_gives_each_group_one_position(tmp_path):
    prepared = write_prepared(tmp_path / "set")
    config = run_config(
        prepared,
        training__phase="2d",
        training__twin="planar",
        network__position=True,
        training__mbstd_group=2,
    )
    images, positions, _ = Stream(prepared, config.training, torch.device("cpu"))(8, 8)
    assert images.shape == (8, 1, 8, 8)
    assert torch.equal(positions[::2], positions[1::2])


@pytest.mark.parametrize("train_noise", [False, True])
def test_noise_strengths_stay_where_they_are_unless_they_are_trained(train_noise):
    gan = gan_of("3d", train_noise=train_noise)
    reals, positions = batch_of("3d", gan)
    before = {name: p.detach().clone() for name, p in gan.generator.named_parameters()}
    for number in range(3):
        gan.step(reals, positions, number=number)
    moved = {name for name, p in gan.generator.named_parameters() if not torch.equal(p, before[name])}
    strengths = {name for name in before if name.endswith("noise_strength")}
    assert strengths <= moved if train_noise else not strengths & moved
    assert before.keys() - strengths <= moved
