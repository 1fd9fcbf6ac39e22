"""A batch in parts, one after the other or in several processes, takes the step of the whole batch."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.gans.test_stylegan2 import batch_of, weights
from tests.strategies import networks
from voxflate._system.distributed import World
from voxflate.gans import GANS
from voxflate.gans.gan import Gan, sample_seeds
from voxflate.gans.settings import Settings
from voxflate.gans.stylegan2 import STYLEGAN2

KINDS = ["2d", "planar", "3d"]
SETTINGS = Settings(r1_every=2, augmentations=("translation", "cutout"), augment_p=0.5, seed=3)


def gans_of(kind, *settings):
    """The same networks under different settings."""
    planar = kind == "planar"
    generator, discriminator = networks(3 if kind == "3d" else 2, planar=planar, position=planar)
    return [
        Gan(
            STYLEGAN2,
            {"generator": copy.deepcopy(generator), "discriminator": copy.deepcopy(discriminator)},
            one,
        )
        for one in settings
    ]


def gradients_of_all_steps(gan, reals, positions, number=0, labels=None):
    """The gradients that every optimizer was given, and the scalars."""
    seen = []
    for optimizer in gan.optimizers.values():
        optimizer.register_step_pre_hook(
            lambda one, *_: seen.extend(
                p.grad.clone() for g in one.param_groups for p in g["params"] if p.grad is not None
            )
        )
    scalars = gan.step(reals, positions, labels, number=number)
    return seen, scalars


def assert_same_step(one, other):
    (gradients, scalars), (expected, known) = one, other
    assert len(gradients) == len(expected) > 0
    for gradient, known_gradient in zip(gradients, expected, strict=True):
        scale = known_gradient.abs().max().clamp(min=1e-3)
        assert (gradient - known_gradient).abs().max() < 1e-5 * scale
    for name, value in known.items():
        assert scalars[name].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reuse", [False, True])
def test_micro_batches_take_the_step_of_the_batch(kind, reuse):
    settings = replace(SETTINGS, reuse_fakes=reuse)
    # Steps of learning rate 0: later steps of the same batch see the same weights.
    settings = replace(settings, lr_g=0.0, lr_d=0.0)
    whole, parts = gans_of(kind, settings, replace(settings, micro_batch=2))
    reals, positions = batch_of(kind, whole, n=8)
    seen = gradients_of_all_steps(parts, reals, positions)
    assert_same_step(seen, gradients_of_all_steps(whole, reals, positions))
    w_avg = [gan.generator.mapping.w_avg for gan in (whole, parts)]
    torch.testing.assert_close(*w_avg)
    assert w_avg[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_give_the_same_gradients(kind):
    settings = replace(SETTINGS, lr_g=0.0, lr_d=0.0)
    kept, recomputed = gans_of(kind, settings, settings)
    recomputed.generator.synthesis.recompute = recomputed.discriminator.recompute = True
    reals, positions = batch_of(kind, kept)
    seen = gradients_of_all_steps(recomputed, reals, positions)
    assert_same_step(seen, gradients_of_all_steps(kept, reals, positions))


def test_recomputing_keeps_less():
    kept, recomputed = gans_of("3d", SETTINGS, SETTINGS)
    recomputed.generator.synthesis.recompute = recomputed.discriminator.recompute = True
    sizes = []
    for gan in (kept, recomputed):
        held = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, held=held: held.append(x.numel()) or x, lambda x: x
        ):
            gan.steps[0].loss(next(shown_of(gan).parts(0)))
        sizes.append(sum(held))
    assert sizes[1] < 0.5 * sizes[0]


def shown_of(gan):
    from voxflate.gans.gan import Shown

    return Shown(*batch_of("3d", gan))


def test_a_training_in_micro_batches_ends_with_the_weights_of_the_whole():
    whole, parts = gans_of("3d", SETTINGS, replace(SETTINGS, micro_batch=2))
    for number in range(3):
        for gan in (whole, parts):
            gan.step(*batch_of("3d", gan, seed=number), number=number)
    for name in ("generator", "discriminator"):
        ours, theirs = (weights(gan.networks[name]) for gan in (parts, whole))
        # Adam turns rounding of tiny gradients into steps; most weights agree to the digits of a step.
        assert (ours - theirs).abs().median() < 1e-5


class Told(World):
    """One of two processes; remembers what it would have sent."""

    def sum_(self, tensors):
        for tensor in tensors:
            SENT.append(tensor.detach().clone())


SENT: list = []


def test_two_halves_of_a_batch_add_up_to_it():
    settings = replace(SETTINGS, lr_g=0.0, lr_d=0.0)
    (whole,) = gans_of("3d", settings)
    reals, _ = batch_of("3d", whole, n=8)
    shares = []
    for rank in range(2):
        SENT.clear()
        (gan,) = gans_of("3d", settings)
        half = Gan(STYLEGAN2, gan.networks, settings, Told(rank, 2))
        half.step(reals[4 * rank : 4 * rank + 4], None, number=1)
        shares.append(list(SENT))
    sums = [a + b for a, b in zip(*shares, strict=True)]
    SENT.clear()
    Gan(STYLEGAN2, whole.networks, settings, Told(0, 1)).step(reals, None, number=1)
    for total, expected in zip(sums, SENT, strict=True):
        scale = expected.abs().max().clamp(min=1e-3)
        assert (total - expected).abs().max() < 1e-5 * scale


def test_seeds_belong_to_images_and_differ_between_steps():
    whole = sample_seeds(1, 2, 3, range(8))
    assert whole[4:] == sample_seeds(1, 2, 3, range(4, 8))
    others = [sample_seeds(*at, range(8)) for at in ((0, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert len({seed for seeds in [whole, *others] for seed in seeds}) == 32
    assert all(0 <= seed < 2**32 for seed in whole)


def test_models_with_batch_normalisation_show_their_batches_whole():
    model = GANS["vae-gan"]
    for settings, world in ((Settings(micro_batch=2), World()), (Settings(), World(0, 2))):
        with pytest.raises(ValueError, match="whole batches"):
            Gan(model, {}, settings, world)
