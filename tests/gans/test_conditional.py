"""Steps on several channels, told labels: the fakes are made and judged for the reals' labels."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.gans.test_parts import SETTINGS, assert_same_step, gradients_of_all_steps
from tests.strategies import networks, random_tensor, run_config, write_prepared
from voxflate.config.build import Stream, build_gan, build_run_networks
from voxflate.data.channels import Channel, LabelColumn, Layout
from voxflate.gans.gan import Gan, Shown
from voxflate.gans.settings import Settings
from voxflate.gans.stylegan2 import STYLEGAN2

KINDS = ["2d", "planar", "3d"]
LAYOUT = Layout(
    (Channel("t1"), Channel("t2"), Channel("box", "mask", label=1)),
    (LabelColumn("sex", ("F", "M")), LabelColumn("age", low=20, high=80, mean=50, deviation=20)),
)


def gans_of(kind, *settings):
    planar = kind == "planar"
    options = {"image_channels": 3, "label_width": 3, "planar": planar, "position": planar}
    generator, discriminator = networks(3 if kind == "3d" else 2, **options)
    made = {"generator": generator, "discriminator": discriminator}
    return [Gan(STYLEGAN2, copy.deepcopy(made), one) for one in settings]


def batch_of(kind, gan, n=4):
    reals = torch.tanh(random_tensor(n, 3, *gan.discriminator.shape, dtype=torch.float32))
    positions = torch.arange(n // 2).repeat_interleave(2) if kind == "planar" else None
    return reals, positions, random_tensor(n, 3, seed=1, dtype=torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_take_the_step_of_the_batch(kind):
    whole, parts = gans_of(kind, SETTINGS, replace(SETTINGS, micro_batch=2))
    reals, positions, labels = batch_of(kind, whole)
    steps = [gradients_of_all_steps(gan, reals, positions, labels=labels) for gan in (parts, whole)]
    assert_same_step(*steps)


def test_every_network_is_told_the_labels_of_its_images(monkeypatch):
    (gan,) = gans_of("3d", Settings(r1_every=1))
    reals, _, labels = batch_of("3d", gan)
    told = {"generator": [], "discriminator": []}
    for name, network in gan.networks.items():
        forward = network.forward

        def listening(*inputs, forward=forward, name=name, **more):
            told[name].append(more.get("labels", inputs[2] if len(inputs) > 2 else None))
            return forward(*inputs, **more)

        monkeypatch.setattr(network, "forward", listening)
    gan.step(reals, None, labels, number=0)
    assert all(torch.equal(one, labels) for one in told["generator"])
    step_g, step_d, r1 = told["discriminator"]
    assert torch.equal(step_g, labels)
    assert torch.equal(step_d, torch.cat([labels, labels]))
    assert torch.equal(r1, labels)


def test_the_discriminator_learns_to_tell_wrong_labels():
    """Equal images for all labels but one number: only the projection can see that it is wrong."""
    (gan,) = gans_of("2d", Settings(lr_d=0.01, r1_gamma=0.0))
    judge = gan.discriminator
    images = torch.tanh(random_tensor(2, 3, *judge.shape, dtype=torch.float32)).repeat(4, 1, 1, 1)
    right = torch.eye(3)[[0, 1] * 4]
    wrong = torch.eye(3)[[1, 0] * 4]
    adam = torch.optim.Adam(judge.parameters(), lr=0.01)
    for _ in range(60):
        adam.zero_grad()
        loss = torch.nn.functional.softplus(judge(images, None, wrong) - judge(images, None, right)).mean()
        loss.backward()
        adam.step()
    assert loss < 0.3


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"training__phase": "2d"},
        {"training__phase": "2d", "training__twin": "planar", "network__position": True},
    ],
)
def test_the_stream_gives_every_image_its_own_subject_s_labels(values, tmp_path):
    prepared = write_prepared(tmp_path / "set", layout=LAYOUT)
    config = run_config(prepared, network__image_channels=3, network__label_width=3, **values)
    stream = Stream(prepared, config.training, torch.device("cpu"), labels=True)
    volumes, labels = torch.from_numpy(prepared.volumes("train")), torch.from_numpy(prepared.labels("train"))
    for n_images in (0, 8, 40):
        reals, _, told = stream(n_images, 8)
        for real, own in zip(reals, told, strict=True):
            shown = volumes if real.ndim == 4 else volumes.movedim(2, 1)  # volume first, then slice
            same = (shown == real).flatten(2 if real.ndim == 3 else 1).all(-1)
            owners = same.any(1) if real.ndim == 3 else same
            assert any(torch.equal(own, labels[owner]) for owner in owners.nonzero().flatten())
    assert Stream(prepared, config.training, torch.device("cpu"))(0, 8).labels is None


@pytest.mark.parametrize("model", ["wgan-gp", "vae-gan", "alpha-gan", "alpha-wgan-gp"])
def test_comparison_models_train_on_several_channels(model, tmp_path):
    prepared = write_prepared(tmp_path / "set", (16, 16, 16), layout=LAYOUT)
    network = {"network__base": (4, 4, 4), "network__stages": 3, "network__channels": 8}
    config = run_config(prepared, model=model, network__image_channels=3, **network)
    gan = build_gan(config, build_run_networks(config))
    reals = torch.from_numpy(prepared.volumes("train", range(4)))
    for step in gan.steps:
        assert all(value.isfinite() for value in gan.take(step, Shown(reals)).values())
    assert gan.generator(torch.randn(2, gan.generator.z_dim)).shape == (2, 3, 16, 16, 16)
    with pytest.raises(Exception, match=f"model = {model}: takes no labels; set network.label_width=0"):
        run_config(prepared, model=model, network__label_width=3, **network)
