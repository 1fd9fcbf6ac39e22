"""Laws of every model in the table."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.strategies import random_tensor
from voxflate.config.schema import DEFAULT_MODEL, MODELS
from voxflate.gans import GANS
from voxflate.gans.gan import LETTERS, Gan, Shown
from voxflate.gans.samples import sample
from voxflate.gans.settings import NetworkPlan, Settings

COMPARISON = [name for name in GANS if name != DEFAULT_MODEL]
WITH_ENCODER = ["vae-gan", "alpha-gan", "alpha-wgan-gp"]
STEPS = {
    "stylegan2": ["g", "d", "r1"],
    "wgan-gp": ["d", "g"],
    "vae-gan": ["d", "e", "g"],
    "alpha-gan": ["e", "g", "d", "c"],
    "alpha-wgan-gp": ["e", "g", "d", "c"],
}
KINDS_OF_FAKES = {"logits_fake", "logits_again"}
EVERY_STEP = [(model, step) for model, steps in STEPS.items() for step in steps]


def gan_of(model, *, channels=8, **settings):
    plan = NetworkPlan((4, 4, 4), 3, channels, 6, w_dim=6, mapping_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = GANS[model].networks(plan)
    return Gan(GANS[model], networks, Settings(**settings))


def batch(n=4, seed=0):
    return torch.tanh(random_tensor(n, 1, 16, 16, 16, seed=seed, dtype=torch.float32))


def step_of(gan, name):
    (step,) = (step for step in gan.steps if step.name == name)
    return step


def parameters(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def seeded(function, *args):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return function(*args)


def scalars_of(gan, name, shown):
    return {key: float(value) for key, value in seeded(step_of(gan, name).loss, shown)[1].items()}


def five_steps(gan, name, shown):
    for _ in range(5):
        seeded(gan.take, step_of(gan, name), shown)


def test_the_names_are_those_of_the_configuration():
    assert tuple(GANS) == MODELS
    assert list(STEPS) == list(GANS)
    assert {model: [step.name for step in gan_of(model).steps] for model in GANS} == STEPS


@pytest.mark.parametrize(("model", "name"), EVERY_STEP)
def test_a_step_lowers_its_own_loss_on_a_fixed_batch(model, name):
    gan = gan_of(model, lr_g=1e-5, lr_d=1e-5)
    step, shown = step_of(gan, name), Shown(batch())
    before = seeded(step.loss, shown)[0].item()
    seeded(gan.take, step, shown)
    assert seeded(step.loss, shown)[0].item() < before


@pytest.mark.parametrize("model", GANS)
def test_d_parts_real_from_generated_images_and_g_raises_their_logits(model):
    gan, shown = gan_of(model, lr_g=1e-3, lr_d=1e-3, gp_lambda=0.0, reconstruction=0.0), Shown(batch())
    fresh = scalars_of(gan, "d", shown)
    five_steps(gan, "d", shown)
    parted = scalars_of(gan, "d", shown)
    for kind in KINDS_OF_FAKES & fresh.keys():
        assert parted["logits_real"] - parted[kind] > fresh["logits_real"] - fresh[kind], kind
    five_steps(gan, "g", shown)
    raised = scalars_of(gan, "d", shown)
    for kind in KINDS_OF_FAKES & fresh.keys():
        assert raised[kind] > parted[kind], kind


@pytest.mark.parametrize("model", ["alpha-gan", "alpha-wgan-gp"])
def test_c_parts_random_from_encoded_codes_and_e_raises_their_logits(model):
    gan, shown = gan_of(model, lr_g=1e-3, lr_d=1e-3, gp_lambda=0.0, reconstruction=0.0), Shown(batch())
    judge, encoder = gan.networks["code_discriminator"], gan.networks["encoder"]
    random_codes = torch.randn(4, 6)

    @torch.no_grad()
    def logits():
        return float(judge(random_codes).mean()), float(judge(encoder(shown.reals)).mean())

    fresh = logits()
    five_steps(gan, "c", shown)
    parted = logits()
    assert parted[0] - parted[1] > fresh[0] - fresh[1]
    five_steps(gan, "e", shown)
    assert logits()[1] > parted[1]


@pytest.mark.parametrize(
    ("model", "name", "weight"),
    [("vae-gan", "e", "kl"), *((model, step, "reconstruction") for model in WITH_ENCODER for step in "eg")],
)
def test_a_term_with_a_large_weight_falls(model, name, weight):
    gan, shown = gan_of(model, lr_g=1e-3, **{weight: 1e4}), Shown(batch())
    before = scalars_of(gan, "e", shown)[weight]
    five_steps(gan, name, shown)
    assert scalars_of(gan, "e", shown)[weight] < before


@pytest.mark.parametrize(("model", "name"), EVERY_STEP)
def test_a_step_leaves_the_other_networks_untouched(model, name):
    gan = gan_of(model)
    step = step_of(gan, name)
    before = {key: parameters(network) for key, network in gan.networks.items()}
    optimizers = copy.deepcopy({key: adam.state_dict() for key, adam in gan.optimizers.items()})
    gan.take(step, Shown(batch()))
    for key, network in gan.networks.items():
        assert torch.equal(parameters(network), before[key]) == (key != step.updates), key
        assert all(parameter.requires_grad for parameter in network.parameters())
        if key != step.updates:
            assert all(parameter.grad is None for parameter in network.parameters())
            assert gan.optimizers[key].state_dict() == optimizers[key]


@pytest.mark.parametrize("model", COMPARISON)
def test_every_weight_gets_a_gradient_from_some_step(model):
    gan = gan_of(model)
    gan.step(batch(), None, number=0)
    for name, network in gan.networks.items():
        for key, parameter in network.named_parameters():
            if key.endswith("weight"):  # a shift before a normalisation has none
                assert parameter.grad.any(), f"{name}.{key}"


@pytest.mark.parametrize("model", COMPARISON)
def test_the_generator_and_the_encoder_learn_at_every_so_manyth_batch(model):
    gan, reals = gan_of(model, critic_steps=3), batch()
    taken = [set(gan.step(reals, None, number=number)) for number in range(6)]
    assert [("loss_g" in names) for names in taken] == [False, False, True] * 2
    assert all("loss_d" in names for names in taken)
    assert [("loss_e" in names) for names in taken] == [
        model in WITH_ENCODER and n % 3 == 2 for n in range(6)
    ]


@pytest.mark.parametrize("model", GANS)
def test_a_frozen_generator_stands_still(model):
    gan = gan_of(model)
    before = parameters(gan.generator)
    losses = gan.step(batch(), None, number=0, train_g=False)
    assert torch.equal(parameters(gan.generator), before)
    assert "loss_g" not in losses
    assert "loss_d" in losses


@pytest.mark.parametrize("model", GANS)
def test_state_comes_back_and_the_next_step_is_the_same(model):
    gan, other = gan_of(model), gan_of(model, lr_g=0.001, lr_d=0.001)
    seeded(lambda: [gan.step(batch(seed=i), None, number=i) for i in range(2)])
    state = copy.deepcopy(gan.state_dict())
    assert set(state) == {*gan.networks, *(f"optimizer_{LETTERS[name]}" for name in gan.networks)}
    other.load_state_dict(state)
    other.scale_learning_rates(2.5)
    for one in (gan, other):
        seeded(lambda one=one: one.step(batch(seed=9), None, number=2))
    for name, network in gan.networks.items():
        assert torch.equal(parameters(network), parameters(other.networks[name])), name


@pytest.mark.parametrize("model", COMPARISON)
def test_encoders_learn_at_the_generators_rate_and_discriminators_at_their_own(model):
    gan = gan_of(model, lr_g=0.25, lr_d=0.5, betas=(0.3, 0.6))
    gan.scale_learning_rates(0.5)
    for name, optimizer in gan.optimizers.items():
        (group,) = optimizer.param_groups
        assert group["lr"] == (0.125 if name in ("generator", "encoder") else 0.25)
        assert group["betas"] == (0.3, 0.6)


def silence(network):
    """Make a discriminator say 0 to everything: its steps' terms then have no gradient."""
    last = [module for module in network.modules() if isinstance(module, nn.Conv3d | nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


@pytest.mark.slow
@pytest.mark.parametrize("model", WITH_ENCODER)
def test_reconstruction_alone_learns_eight_volumes_by_heart(model):
    gan = gan_of(model, channels=16, lr_g=0.02, kl=0.0, betas=(0.9, 0.99))
    for name in ("discriminator", "code_discriminator"):
        if name in gan.networks:
            silence(gan.networks[name])
    axis = torch.linspace(-1, 1, 16)
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).square().sum(0)
    reals = torch.tanh(4 * (torch.linspace(0.2, 1.6, 8).view(8, 1, 1, 1, 1) - distance))  # balls of 8 sizes
    psnr = 0.0
    for number in range(1, 301):
        for name in ("e", "g"):
            gan.take(step_of(gan, name), Shown(reals))
        if number % 10 == 0:
            with torch.no_grad():
                codes = gan.networks["encoder"](reals)
                codes = codes[0] if isinstance(codes, tuple) else codes
                error = (gan.generator(codes) - reals).square().mean().item()
            psnr = 10 * math.log10(4 / error)  # values are in [-1, 1]: the peak is 2
        if psnr > 25:
            break
    assert psnr > 25


@pytest.mark.parametrize("model", WITH_ENCODER)
def test_running_statistics_follow_random_codes_only(model):
    gan = gan_of(model)
    norm = next(m for m in gan.generator.modules() if isinstance(m, nn.BatchNorm3d))
    mean = norm.running_mean.clone()
    gan.take(step_of(gan, "e"), Shown(batch()))  # only encoded codes
    assert torch.equal(norm.running_mean, mean)
    gan.take(step_of(gan, "d"), Shown(batch()))
    assert not torch.equal(norm.running_mean, mean)
    assert norm.momentum == 0.1


@pytest.mark.parametrize("model", GANS)
def test_a_sample_depends_on_its_seed_and_number_alone(model):
    gan = gan_of(model)
    gan.step(batch(), None, number=0)
    random_state = torch.get_rng_state()
    all_at_once = torch.cat(list(sample(gan.generator, 5, seed=3)))
    for size in (1, 2):
        again = torch.cat(list(sample(gan.generator, 3, seed=3, batch=size, first=2)))
        torch.testing.assert_close(again, all_at_once[2:], rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert gan.generator.training
    assert not torch.equal(all_at_once[0], all_at_once[1])
    assert not torch.equal(torch.cat(list(sample(gan.generator, 1, seed=4)))[0], all_at_once[0])


@pytest.mark.parametrize("model", COMPARISON)
def test_truncation_0_gives_every_sample_the_same_code(model):
    generator = gan_of(model).generator
    one, other = torch.cat(list(sample(generator, 2, seed=0, truncation_psi=0.0)))
    torch.testing.assert_close(one, other)


def test_the_critics_loss_has_the_penalty_with_its_weight():
    losses = {}
    for weight in (0.0, 3.0):
        gan = gan_of("wgan-gp", gp_lambda=weight)
        losses[weight] = seeded(step_of(gan, "d").loss, Shown(batch()))
    (without, _), (with_it, scalars) = losses[0.0], losses[3.0]
    torch.testing.assert_close(with_it - without, 3 * scalars["gp"])
