import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import VARIANTS, networks, noise_for, random_tensor, seeds
from voxflate.nn import Discriminator, Generator
from voxflate.nn.discriminator_blocks import FromImage, depth_ramp
from voxflate.nn.mapping import W_AVG_DECAY, Mapping

KINDS = [*((name, False) for name in VARIANTS), ("split", True), ("split-shuffle", True)]
BASES = st.tuples(*(st.integers(1, 4),) * 3)


@pytest.mark.parametrize(("architecture", "symmetric"), KINDS)
@pytest.mark.parametrize(("position", "finest"), [(False, 0), (True, 0), (True, 8)])
def test_twins_have_equal_names_and_differ_by_the_added_axis_alone(architecture, symmetric, position, finest):
    options = {
        "symmetric_d": symmetric,
        "position": position,
        "base": (3, 4, 4),
        "stages": 3,
        "finest_channels": finest,
    }
    depth = 3
    for flat, full in zip(
        networks(2, architecture, **options), networks(3, architecture, **options), strict=True
    ):
        state, state_3d = flat.state_dict(), full.state_dict()
        assert list(state) == list(state_3d)
        for name, tensor in state.items():
            shape, shape_3d = tensor.shape, state_3d[name].shape
            if name == "synthesis.const":
                assert shape_3d == (shape[0], depth, *shape[1:])
            elif name == "epilogue.fc.weight":
                assert shape_3d == (shape[0], depth * shape[1])
            elif len(shape) == 4:
                assert shape_3d == (*shape[:2], shape[2], *shape[2:])  # cubes: 1 or 3 along the new axis too
            else:
                assert shape_3d == shape


@pytest.mark.parametrize("architecture", VARIANTS)
def test_a_planar_twin_is_the_3d_generator_with_kernels_one_deep(architecture):
    planar, _ = networks(2, architecture, planar=True, position=True)
    full, _ = networks(3, architecture)
    state, state_3d = planar.state_dict(), full.state_dict()
    assert list(state) == list(state_3d)
    for name, tensor in state.items():
        expected = list(state_3d[name].shape)
        if len(expected) == 5:
            expected[2] = 1
        assert list(tensor.shape) == expected


def test_fresh_weights_are_standard_normal_and_fresh_shifts_are_0():
    """But scales of styles start at 1, and the mapping's weights are large, because 0.01 multiplies them."""
    fresh = Generator((2, 4, 4), 3, 32), Discriminator((2, 4, 4), 3, 32)
    for name, parameter in [pair for network in fresh for pair in network.named_parameters()]:
        if name.endswith("affine.bias"):
            assert (parameter == 1).all(), name
        elif name.endswith(("bias", "bias0", "bias1", "noise_strength")):
            assert not parameter.any(), name
        elif parameter.numel() > 1000:
            expected = 100 if name.startswith("mapping.layers") else 1
            assert parameter.std().item() == pytest.approx(expected, rel=0.1), name


@pytest.mark.parametrize(("architecture", "symmetric"), KINDS)
@pytest.mark.parametrize("kind", ["2d", "planar", "3d"])
def test_every_parameter_has_a_gradient(architecture, symmetric, kind):
    dims = 3 if kind == "3d" else 2
    planar = kind == "planar"
    generator, discriminator = networks(
        dims, architecture, symmetric_d=symmetric, position=True, planar=planar, stages=3
    )
    z = random_tensor(4, 6, dtype=torch.float32)
    where = torch.tensor([0, 0, 5, 5])
    positions = None if dims == 3 else where / 7 * 2 - 1
    images = generator(z, positions=where if planar else None)
    discriminator(images, positions).square().sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            per_output = (
                parameter.grad.reshape(len(parameter), -1) if parameter.ndim else parameter.grad[None]
            )
            # A kernel is alive in every output channel; a flattened head in every input as well.
            if parameter.ndim > 1:
                assert per_output.any(dim=1).all(), name
            assert per_output.any(), name


@pytest.mark.parametrize("architecture", VARIANTS)
def test_without_the_low_pass_a_discriminator_has_the_same_parameters_and_another_opinion(architecture):
    image = random_tensor(2, 1, 8, 8, dtype=torch.float32)
    _, with_it = networks(2, architecture)
    _, without = networks(2, architecture, low_pass_d=False)
    without.load_state_dict(with_it.state_dict())
    assert (with_it(image) - without(image)).abs().min() > 1e-4


@given(BASES, st.integers(1, 3), st.sampled_from(VARIANTS))
def test_the_discriminator_ends_at_exactly_the_base_size(base, stages, architecture):
    _, discriminator = networks(3, architecture, base=base, stages=stages)
    seen = []
    discriminator.epilogue.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    shape = tuple(n * 2 ** (stages - 1) for n in base)
    assert discriminator(torch.zeros(2, 1, *shape)).shape == (2,)
    assert seen == [(2, 4, *base)]


@given(BASES, st.integers(1, 3), st.sampled_from([2, 3]), seeds)
def test_the_generator_makes_base_times_a_power_of_two(base, stages, dims, seed):
    generator, discriminator = networks(dims, base=base, stages=stages)
    z = random_tensor(2, 6, seed=seed, dtype=torch.float32)
    image = generator(z, noise=noise_for(generator, 2, seed))
    assert image.shape == (2, 1, *generator.synthesis.shape)
    assert (
        generator.synthesis.shape == discriminator.shape == tuple(n * 2 ** (stages - 1) for n in base[-dims:])
    )


@pytest.mark.parametrize("shape", [(4, 8, 4), (8, 8, 8), (4, 8)])
def test_a_discriminator_refuses_images_of_another_size(shape):
    _, discriminator = networks()
    with pytest.raises(ValueError, match=r"judges \(4, 8, 8\), got"):
        discriminator(torch.zeros(1, 1, *shape))


def test_noise_of_every_layer_reaches_the_image():
    generator, _ = networks(stages=3)
    z, noise = random_tensor(1, 6, dtype=torch.float32), noise_for(generator, 1)
    images = [generator(z, noise=noise)]
    for layer in range(len(noise)):
        other = [-n if i == layer else n for i, n in enumerate(noise)]
        images.append(generator(z, noise=other))
    assert len(noise) == 2 * 3 - 1
    for i, one in enumerate(images):
        assert not any(torch.equal(one, another) for another in images[:i])


@pytest.mark.parametrize(
    ("styles", "noises", "positions", "message"),
    [
        (5, 3, None, "5 style codes per sample, expected 4"),
        (3, 3, None, "3 style codes per sample, expected 4"),
        (4, 2, None, "2 noise tensors, expected 3"),
        (4, 4, None, "4 noise tensors, expected 3"),
        (4, 3, 1, "1 positions for 2 samples"),
    ],
)
def test_a_wrong_number_of_inputs_is_refused(styles, noises, positions, message):
    generator, _ = networks(2, planar=True, position=True)
    ws, noise = torch.zeros(2, styles, 6), [*noise_for(generator, 2), torch.zeros(2, 1, 4, 8, 8)]
    where = None if positions is None else torch.zeros(positions, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        generator.synthesis(ws, noise[:noises], where)


def test_samples_of_a_batch_do_not_see_each_other():
    generator, _ = networks()
    z, noise = random_tensor(3, 6, dtype=torch.float32), noise_for(generator, 3)
    together = generator(z, noise=noise)
    alone = torch.cat([generator(z[i : i + 1], noise=[n[i : i + 1] for n in noise]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dims", "planar"), [(2, False), (3, False), (2, True)])
def test_only_planar_generators_render_slices(dims, planar):
    generator, _ = networks(dims, planar=planar, position=planar)
    z, positions = torch.zeros(2, 6), torch.tensor([0, 3])
    if planar:
        assert generator(z, positions=positions).shape == (2, 1, 8, 8)
    else:
        with pytest.raises(ValueError, match="leave out positions"):
            generator(z, positions=positions)


def test_a_planar_generator_needs_a_depth():
    with pytest.raises(ValueError, match="has a 3D base"):
        Generator((4, 4), 2, channels=4, planar=True)


@given(st.integers(1, 5), seeds)
def test_a_volume_is_told_the_positions_of_its_slices(depth, seed):
    full, flat = (FromImage(1, 4, dims, position=True).double() for dims in (3, 2))
    with torch.no_grad():
        full.weight.copy_(random_tensor(4, 1, 1, 1, 1, seed=seed))
        full.bias.copy_(random_tensor(4, seed=seed + 1))
        full.position.copy_(random_tensor(4, seed=seed + 2))
    flat.load_state_dict(
        {name: value.squeeze(2) if value.ndim == 5 else value for name, value in full.state_dict().items()}
    )
    volume = random_tensor(2, 1, depth, 3, 4, seed=seed + 3)
    slices = [flat(volume[:, :, d], depth_ramp(depth)[d].expand(2)) for d in range(depth)]
    torch.testing.assert_close(full(volume, None), torch.stack(slices, dim=2), rtol=0, atol=1e-6)


def test_a_slice_without_its_position_is_refused():
    _, discriminator = networks(2, position=True)
    with pytest.raises(ValueError, match="pass positions"):
        discriminator(torch.zeros(1, 1, 8, 8))


def test_truncation_pulls_towards_the_mean_style():
    mapping = Mapping(6, 5, 2).eval()
    mapping.w_avg.copy_(random_tensor(5, dtype=torch.float32))
    z = random_tensor(3, 6, dtype=torch.float32)
    full, none, half = (mapping(z, psi) for psi in (1.0, 0.0, 0.5))
    assert torch.equal(none, mapping.w_avg.expand(3, 5))
    torch.testing.assert_close(half, (full + none) / 2)
    assert not torch.equal(full[0], full[1])


def test_the_mean_style_follows_the_batches_of_training_only():
    mapping = Mapping(6, 5, 2)
    before = random_tensor(5, dtype=torch.float32)
    mapping.w_avg.copy_(before)
    z = random_tensor(64, 6, dtype=torch.float32)
    w = torch.cat([mapping(z[:60]), mapping(z[60:])])  # a step may see its batch in parts
    assert torch.equal(mapping.w_avg, before)
    mapping.after_step(lambda tensors: None)
    expected = W_AVG_DECAY * before + (1 - W_AVG_DECAY) * w.mean(dim=0)
    torch.testing.assert_close(mapping.w_avg, expected)
    mapping.eval()(random_tensor(4, 6, seed=1, dtype=torch.float32))
    mapping.after_step(lambda tensors: None)
    torch.testing.assert_close(mapping.w_avg, expected)


STYLED = [
    "noise_strength",
    "bias",
    "affine.weight",
    "affine.bias",
    *(f"conv.branches.{i}.weight" for i in (0, 1)),
]
TO_IMAGE = ["weight", "bias", "affine.weight", "affine.bias"]


def test_parameters_have_the_names_and_the_order_of_earlier_snapshots():
    """Optimizers store their state by order, snapshots and inflation by name."""
    generator, discriminator = networks(position=True)
    assert list(generator.state_dict()) == [
        "mapping.w_avg",
        *(f"mapping.layers.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")),
        "synthesis.const",
        *(f"synthesis.stages.0.conv1.{name}" for name in STYLED),
        *(f"synthesis.stages.0.to_image.{name}" for name in TO_IMAGE),
        *(f"synthesis.stages.1.conv{i}.{name}" for i in (0, 1) for name in STYLED),
        *(f"synthesis.stages.1.to_image.{name}" for name in TO_IMAGE),
    ]
    assert list(discriminator.state_dict()) == [
        *(f"from_image.{name}" for name in ("weight", "bias", "position")),
        *("stages.0.bias0", "stages.0.bias1"),
        *(f"stages.0.conv{i}.branches.{j}.weight" for i in (0, 1) for j in (0, 1)),
        "stages.0.skip.weight",
        *(f"epilogue.{name}" for name in ("bias", "conv.even_bias", "conv.even.weight")),
        *(f"epilogue.conv.branches.{j}.weight" for j in (0, 1)),
        *(f"epilogue.{layer}.{name}" for layer in ("fc", "out") for name in ("weight", "bias")),
    ]


def tuples(output):
    return output if isinstance(output, tuple) else (output,)


@pytest.mark.parametrize("dims", [2, 3])
def test_activations_start_at_order_one(dims):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator((4,) * dims, 3, channels=16)
        discriminator = Discriminator((4,) * dims, 3, channels=16)
        sizes = []
        for module in [*generator.synthesis.stages, *discriminator.stages]:
            module.register_forward_hook(
                # The generator's last stage has an image and no features.
                lambda module, inputs, output: sizes.append(
                    float(next(x for x in tuples(output) if x is not None).detach().std())
                )
            )
        images = generator(torch.randn(8, 64))
        discriminator(torch.randn_like(images))
    assert len(sizes) == 5
    assert all(0.2 < size < 2 for size in sizes), sizes
