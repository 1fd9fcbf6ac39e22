"""Fused networks give what plain ones give: images, logits, every gradient, R1 and its gradients."""

import pytest
import torch

from tests.strategies import VARIANTS, networks, noise_for, random_tensor, randomised
from voxflate.losses import r1_penalty
from voxflate.nn import Discriminator, Generator
from voxflate.nn.conv_modules import ARCHITECTURES, CONVS, SplitConv
from voxflate.nn.draws import Draws
from voxflate.nn.fused.build import kernels
from voxflate.nn.layers import EqualConv
from voxflate.nn.run_stage import use_kernels, why_plain

needs_kernels = pytest.mark.skipif(bool(kernels().problem), reason="no C++ compiler here")
KINDS = [((2, 4), False), ((2, 4), True), ((2, 3, 4), False)]


@pytest.fixture(autouse=True)
def _auto_again():
    yield
    use_kernels("auto")


def everything(
    mode: str,
    architecture: str,
    base: tuple[int, ...],
    *,
    planar: bool,
    low_pass: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 3,
    image_channels: int = 1,
    label_width: int = 0,
    channels: int = 8,
    finest_channels: int = 0,
    recompute: bool = False,
) -> list[torch.Tensor]:
    use_kernels(mode)
    names = ARCHITECTURES[architecture]
    made = image_channels, label_width
    start = (2, *base) if planar else base
    generator = Generator(
        start, 3, channels, 8, 8, 2, names.generator, *made, finest_channels=finest_channels, planar=planar
    )
    discriminator = Discriminator(
        base,
        3,
        channels,
        names.discriminator,
        *made,
        finest_channels=finest_channels,
        position=planar,
        low_pass=low_pass,
    )
    generator = randomised(generator, seed).to(dtype)
    discriminator = randomised(discriminator, seed + 1).to(dtype)
    generator.synthesis.recompute = discriminator.recompute = recompute
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(4, 8, generator=rng).to(dtype)
    noise = [torch.randn(4, *shape, generator=rng).to(dtype) for shape in generator.synthesis.noise_shapes()]
    positions = torch.tensor([0, 3, 5, 7]) if planar else None
    where = None if positions is None else (positions / 7 * 2 - 1).to(dtype)
    labels = torch.randn(4, label_width, generator=rng).to(dtype) if label_width else None
    images = generator(z, noise=noise, positions=positions, labels=labels)
    logits = discriminator(images, where, labels)
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5]).to(dtype)
    gradients = torch.autograd.grad(
        (logits * weights).sum(), [*generator.parameters(), *discriminator.parameters()]
    )
    penalty = r1_penalty(lambda x: discriminator(x, where, labels), images.detach())
    second = torch.autograd.grad(penalty, list(discriminator.parameters()), allow_unused=True)
    there = [torch.zeros(()) if s is None else s for s in second]
    return [images, logits, *gradients, penalty, *there]


@needs_kernels
@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize(("base", "planar"), KINDS)
# Kernels cut channels in halves only if there are multiples of 16.
@pytest.mark.parametrize(("channels", "recompute"), [(8, False), (16, True)])
def test_whole_networks_agree_with_float64_to_rounding(architecture, base, planar, channels, recompute):
    kind = {"planar": planar, "low_pass": not planar, "channels": channels, "recompute": recompute}
    assert_both_paths_agree(architecture, base, **kind)


@needs_kernels
@pytest.mark.parametrize(("base", "planar"), KINDS)
def test_so_do_networks_of_three_channels_with_labels(base, planar):
    assert_both_paths_agree("split-shuffle", base, planar=planar, image_channels=3, label_width=2)


@needs_kernels
@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize(("base", "planar"), KINDS)
def test_so_do_networks_with_fewer_channels_at_the_finest_resolution(architecture, base, planar):
    assert_both_paths_agree(architecture, base, planar=planar, finest_channels=4)


def assert_both_paths_agree(architecture, base, **kind):
    exact = everything("plain", architecture, base, **kind, dtype=torch.float64)
    for mode in ("plain", "auto"):
        for expected, got in zip(exact, everything(mode, architecture, base, **kind), strict=True):
            scale = expected.abs().max().clamp(min=1e-2)
            assert (got - expected).abs().max() < 2e-4 * scale


@needs_kernels
@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize(("base", "planar"), KINDS)
@pytest.mark.parametrize("made", [{}, {"image_channels": 3, "label_width": 2}])
def test_no_stage_of_the_paper_s_networks_runs_plain(architecture, base, planar, made, monkeypatch):
    reasons = []

    def asked(stage, *inputs):
        reasons.append(why_plain(stage, *inputs))
        return reasons[-1]

    monkeypatch.setattr("voxflate.nn.run_stage.why_plain", asked)
    everything("auto", architecture, base, planar=planar, **made)
    assert set(reasons) == {""}
    assert len(reasons) == 3 + 2 * (1 + 2 + 1)  # the generator's stages, the discriminator's twice


@needs_kernels
@pytest.mark.parametrize("mode", ["plain", "auto"])
def test_noise_of_one_sample_serves_all_and_noise_of_another_size_is_refused(mode):
    use_kernels(mode)
    generator, _ = networks()
    z, noise = random_tensor(3, 6, dtype=torch.float32), noise_for(generator, 1)
    whole = [one.repeat(3, 1, 1, 1, 1) for one in noise]
    assert torch.equal(generator(z, noise=noise), generator(z, noise=whole))
    for bad in ([one[:2] for one in whole], [one[..., :2] for one in whole], [one[0] for one in whole]):
        with pytest.raises(ValueError, match=r"noise of stage 0 has shape .*, expected \[3, 1, 2, 4, 4\]"):
            generator(z, noise=bad)
    with pytest.raises(ValueError, match=r"noise of stage 0 has shape \[2, "):
        generator(z, noise=Draws(2, "cpu"))


class OwnConv(EqualConv):
    def forward(self, x, down="none"):
        return (2 if down == "none" else 3) * super().forward(x, down)


class OwnSplit(SplitConv):
    def forward(self, x, down="none"):
        return 2 * super().forward(x, down)


def with_own_branch(i, o, k):
    conv = SplitConv(i, o, k, shuffle=True)
    conv.branches[0] = OwnConv(*conv.branches[0].weight.shape[1::-1], k)
    return conv


@needs_kernels
@pytest.mark.parametrize("own", [OwnConv, lambda i, o, k: OwnSplit(i, o, k, shuffle=True), with_own_branch])
@pytest.mark.parametrize("of_skip", [False, True])
def test_a_discriminator_s_own_convolution_computes_what_it_does_on_the_plain_path(own, of_skip, monkeypatch):
    monkeypatch.setitem(CONVS, "own", own)
    discriminator = randomised(Discriminator((2, 3, 4), 2, 8, "own"))
    if of_skip:
        discriminator.stages[0].skip.__class__ = OwnConv
    logits = {}
    for mode in ("plain", "auto"):
        use_kernels(mode)
        logits[mode] = discriminator(random_tensor(4, 1, 4, 6, 8, dtype=torch.float32))
    torch.testing.assert_close(logits["auto"], logits["plain"], rtol=1e-4, atol=1e-4)
