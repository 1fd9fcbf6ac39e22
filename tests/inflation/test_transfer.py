import pytest
import torch

from tests.strategies import VARIANTS, networks, noise_for, random_tensor
from voxflate._system.errors import VoxflateError
from voxflate.inflation import STRATEGIES, inflate

PAPER = [name for name in STRATEGIES if name.startswith("inflate")]


def states(pair):
    return {"generator": pair[0].state_dict(), "discriminator": pair[1].state_dict()}


def transfer(twins, fresh, strategy="inflate-1", modules="gd", seed=5):
    return inflate(states(twins), states(fresh), strategy, modules, torch.Generator().manual_seed(seed))


def pairs(architecture="split-shuffle", strategy="inflate-1", **options):
    """A 2D pair of networks of the kind the strategy wants, and a fresh 3D pair."""
    planar = strategy == "planar"
    options = {"position": planar, **options}
    twins = networks(2, architecture, planar=planar, seed=1, **options)
    return twins, networks(3, architecture, seed=2, **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("architecture", VARIANTS)
def test_every_parameter_is_in_exactly_one_list(architecture, strategy):
    twins, fresh = pairs(architecture, strategy)
    inflated, report = transfer(twins, fresh, strategy)
    names = [f"{network}.{name}" for network, state in states(fresh).items() for name in state]
    listed = [*report.inflated, *report.copied, *report.fresh]
    assert sorted(listed) == sorted(names)
    assert not report.fresh
    for network, module in zip(("generator", "discriminator"), fresh, strict=True):
        module.load_state_dict(inflated[network])  # names and shapes fit
    assert f"{len(report.inflated)} inflated, {len(report.copied)} copied, 0 fresh" in report.summary()


def test_what_is_copied_is_equal_and_what_is_inflated_has_gained_an_axis():
    twins, fresh = pairs("split-shuffle", "inflate-1")
    inflated, report = transfer(twins, fresh)
    assert set(report.copied) & {"generator.mapping.layers.0.weight", "generator.mapping.w_avg"}
    for network, source in states(twins).items():
        for name, tensor in source.items():
            new, full = inflated[network][name], f"{network}.{name}"
            if full in report.copied:
                assert torch.equal(new, tensor), full
            else:
                assert new.numel() > tensor.numel() or new.ndim == tensor.ndim + 1, full
    assert report.inflated["generator.synthesis.const"] == "4x4x4 -> 4x2x4x4"


@pytest.mark.parametrize("strategy", PAPER)
def test_kernels_are_those_of_the_strategy_on_a_fresh_start(strategy):
    twins, fresh = pairs("baseline", strategy)
    inflated, _ = transfer(twins, fresh, strategy)
    name = "stages.0.conv0.weight"
    kernel2d, kernel3d = twins[1].state_dict()[name], inflated["discriminator"][name]
    # A rule that writes nothing but the 2D kernel shows which taps it writes.
    written = ~torch.isnan(STRATEGIES[strategy].kernel(kernel2d, torch.full_like(kernel3d, torch.nan)))
    expected = STRATEGIES[strategy].kernel(kernel2d, torch.zeros_like(kernel3d))
    torch.testing.assert_close(kernel3d[written], expected[written])
    if not written.all():
        left = kernel3d[~written]
        assert 0.05 < left.std() < 0.15  # N(0, 0.1), not the initialisation of the network


def test_constants_are_repeated_along_depth_and_heads_share_the_answer():
    twins, fresh = pairs("baseline", "inflate-1", base=(3, 4, 4))
    inflated, _ = transfer(twins, fresh)
    const = inflated["generator"]["synthesis.const"]
    assert all(torch.equal(const[:, d], twins[0].synthesis.const) for d in range(3))
    head, head_2d = inflated["discriminator"]["epilogue.fc.weight"], twins[1].epilogue.fc.weight
    torch.testing.assert_close(head.view(4, 4, 3, 4, 4).sum(dim=2), head_2d.view(4, 4, 4, 4))
    features = random_tensor(2, 4, 4, 4, dtype=torch.float32)
    volume = features[:, :, None].expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(volume.flatten(1) @ head.t(), features.flatten(1) @ head_2d.t())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_inputs_stay_as_they_were_and_share_no_memory(strategy):
    twins, fresh = pairs("split-shuffle", strategy)
    before = [
        tensor.clone()
        for pair in (twins, fresh)
        for state in states(pair).values()
        for tensor in state.values()
    ]
    inflated, _ = transfer(twins, fresh, strategy, modules="g")
    for state in inflated.values():
        for tensor in state.values():
            tensor.fill_(99.0)
    after = [
        tensor for pair in (twins, fresh) for state in states(pair).values() for tensor in state.values()
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_same_seed_gives_the_same_start():
    twins, fresh = pairs()
    (a, _), (b, _), (c, _) = (transfer(twins, fresh, seed=seed) for seed in (1, 1, 2))
    name = "stages.0.conv0.branches.0.weight"
    assert torch.equal(a["discriminator"][name], b["discriminator"][name])
    assert not torch.equal(a["discriminator"][name], c["discriminator"][name])


@pytest.mark.parametrize(("modules", "stays"), [("g", "discriminator"), ("d", "generator")])
def test_the_network_that_is_not_asked_for_stays_fresh(modules, stays):
    twins, fresh = pairs()
    inflated, report = transfer(twins, fresh, modules=modules)
    before = states(fresh)[stays]
    assert all(torch.equal(inflated[stays][name], tensor) for name, tensor in before.items())
    assert set(report.fresh) == {f"{stays}.{name}" for name in before}
    assert all(not name.startswith(stays) for name in [*report.inflated, *report.copied])
    assert report.as_dict()["modules"] == modules


def inflated_discriminator(strategy, architecture="baseline", **options):
    """A 2D discriminator and its inflated twin."""
    twins, fresh = pairs(architecture, strategy, **options)
    states_3d, _ = transfer(twins, fresh, strategy)
    fresh[1].load_state_dict(states_3d["discriminator"])
    return twins[1], fresh[1]


def along_depth(slices, depth):
    return slices[:, :, None].expand(-1, -1, depth, -1, -1)


@pytest.mark.parametrize("architecture", VARIANTS)
def test_preserving_answers_a_volume_that_is_constant_along_depth_as_its_slice(architecture):
    flat, full = inflated_discriminator("preserving", architecture, base=(6, 4, 4))
    slices = random_tensor(4, 1, 8, 8, dtype=torch.float32)
    features = flat.stages[0](flat.from_image(slices, None))
    features_3d = full.stages[0](full.from_image(along_depth(slices, 12), None))
    # The low-pass meets the border in the outermost voxels.
    torch.testing.assert_close(features_3d[:, :, 1:-1], along_depth(features, 4), rtol=1e-4, atol=1e-5)


def test_nwi_answers_so_inside_but_for_the_gain_of_the_larger_fan_in():
    flat, full = inflated_discriminator("inflate-nwi")
    slices = random_tensor(2, 4, 5, 5, dtype=torch.float32)
    answer = full.stages[0].conv0(along_depth(slices, 6))[:, :, 1:-1]
    torch.testing.assert_close(
        answer, along_depth(flat.stages[0].conv0(slices), 4) / 3**0.5, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_preserving_keeps_the_logit_exactly_where_no_low_pass_meets_the_border(architecture, depth):
    flat, full = inflated_discriminator("preserving", architecture, base=(depth, 4, 4), stages=1)
    slices = random_tensor(4, 1, 4, 4, dtype=torch.float32)
    torch.testing.assert_close(full(along_depth(slices, depth)), flat(slices), rtol=1e-4, atol=1e-5)


def test_inflate_1_weakens_the_same_answer():
    flat, full = inflated_discriminator("inflate-1", base=(5, 4, 4), stages=1)
    slices = random_tensor(4, 1, 4, 4, dtype=torch.float32)
    assert (full(along_depth(slices, 5)) - flat(slices)).abs().max() > 1e-2


@pytest.mark.parametrize("architecture", ["baseline", "split-shuffle"])
def test_preserving_makes_volumes_whose_inner_slices_are_the_twins_image(architecture):
    twins, fresh = pairs(architecture, "preserving", base=(6, 4, 4))
    inflated, _ = transfer(twins, fresh, "preserving")
    fresh[0].load_state_dict(inflated["generator"])
    z = random_tensor(2, 6, dtype=torch.float32)
    noise = noise_for(twins[0], 2)
    depths = [shape[1] for shape in fresh[0].synthesis.noise_shapes()]
    noise_3d = [n[:, :, None].expand(-1, -1, d, -1, -1) for n, d in zip(noise, depths, strict=True)]
    image, volume = twins[0](z, noise=noise), fresh[0](z, noise=noise_3d)
    inner = volume[:, :, 1:-1]
    torch.testing.assert_close(inner, image[:, :, None].expand_as(inner), rtol=1e-4, atol=1e-4)


REFUSALS = {
    "other channels": (pairs()[1], networks(2, channels=8)),
    "other stages": (pairs()[1], networks(2, stages=3)),
    "other architecture": (pairs()[1], networks(2, "baseline")),
    "other constant": (pairs()[1], networks(2, base=(2, 8, 8))),
    "a 3D source": (pairs()[1], networks(3)),
    "a 3D source of another depth": (pairs()[1], networks(3, base=(4, 4, 4))),
    "position": (networks(3, position=True), networks(2)),
}


@pytest.mark.parametrize(
    ("case", "modules"),
    # The generator knows nothing of positions.
    [(case, m) for case in REFUSALS for m in ("g", "d", "gd") if (case, m) != ("position", "g")],
)
def test_networks_that_are_no_twins_are_refused_in_one_line(case, modules):
    fresh, twins = REFUSALS[case]
    with pytest.raises(VoxflateError) as caught:
        transfer(twins, fresh, modules=modules)
    message = str(caught.value)
    assert "\n" not in message
    assert "2D" in message


def test_a_missing_name_is_named():
    twins, fresh = pairs()
    source = states(twins)
    del source["generator"]["synthesis.const"]
    with pytest.raises(VoxflateError, match=r"lacks synthesis\.const \(1 names missing, 0 extra\)"):
        inflate(source, states(fresh), "inflate-1", "gd", torch.Generator())


def test_an_unknown_strategy_is_answered_with_the_known_ones():
    twins, fresh = pairs()
    with pytest.raises(VoxflateError, match="'inflate-4'; choose one of inflate-1, inflate-2"):
        transfer(twins, fresh, "inflate-4")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("architecture", VARIANTS)
def test_channels_and_label_layers_come_from_the_twin(architecture, strategy):
    """The image layers have one tap, so every channel's weights are the twin's own, whatever the strategy."""
    twins, fresh = pairs(architecture, strategy, image_channels=3, label_width=2)
    inflated, report = transfer(twins, fresh, strategy)
    source = states(twins)
    for network, name in (
        ("generator", "synthesis.stages.1.to_image.weight"),
        ("discriminator", "from_image.weight"),
    ):
        flat = source[network][name]
        gained = flat if flat.ndim == 5 else flat[:, :, None]
        assert torch.equal(inflated[network][name], gained)
        assert f"{network}.{name}" in {**report.inflated, **report.copied}
    for network, name in (
        ("generator", "mapping.embed.weight"),
        ("generator", "mapping.embed.bias"),
        ("generator", "synthesis.stages.1.to_image.bias"),
        ("discriminator", "epilogue.embed.weight"),
        ("discriminator", "epilogue.embed.bias"),
    ):
        assert torch.equal(inflated[network][name], source[network][name])
        assert f"{network}.{name}" in report.copied


def test_a_twin_without_the_labels_is_no_twin():
    twins, fresh = networks(2), networks(3, label_width=2)
    with pytest.raises(VoxflateError, match=r"it lacks mapping\.embed\.bias"):
        transfer(twins, fresh)
    with pytest.raises(VoxflateError, match="no rule turns"):
        transfer(networks(2), networks(3, image_channels=2))
