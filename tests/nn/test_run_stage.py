"""One place chooses between the fused and the plain path, and says why."""

import pytest
import torch

from tests.strategies import networks, noise_for, random_tensor
from voxflate._system.errors import VoxflateError
from voxflate.nn import Generator
from voxflate.nn.conv_modules import STYLED_CONVS, ModulatedConv
from voxflate.nn.dcgan import UpsamplingGenerator
from voxflate.nn.fused import build
from voxflate.nn.generator_blocks import StyledConv, SynthesisStage, ToImage
from voxflate.nn.run_stage import describe_path, kernels_in_use, run_stage, use_kernels, why_plain

needs_kernels = pytest.mark.skipif(bool(build.kernels().problem), reason="no C++ compiler here")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _auto_again():
    yield
    use_kernels("auto")


def stage_and_inputs(**options):
    generator, _ = networks(**options)
    stage = generator.synthesis.stages[1]
    ws = [torch.randn(2, 6)] * 3
    noise = [torch.randn(2, 1, 4, 8, 8)] * 2
    return stage, [torch.randn(2, 4, 2, 4, 4), torch.randn(2, 1, 2, 4, 4), ws, noise, None]


@needs_kernels
def test_a_stage_that_can_be_fused_has_no_reason_not_to_be():
    stage, inputs = stage_and_inputs()
    assert why_plain(stage, *inputs) == ""


@needs_kernels
def test_every_reason_for_the_plain_path_is_one_line_and_its_result_the_plain_one():
    def changed(position, change):
        stage, inputs = stage_and_inputs()
        inputs[position] = change(inputs[position])
        return stage, inputs

    def with_stage(change):
        stage, inputs = stage_and_inputs()
        change(stage)
        return stage, inputs

    class Own(SynthesisStage):
        pass

    class OwnConv(ModulatedConv):
        pass

    class OwnStyled(StyledConv):
        pass

    class OwnImage(ToImage):
        pass

    cases = {
        "its features are float64; the kernels take float32 and bfloat16": changed(0, torch.Tensor.double),
        "it runs on meta; the kernels are for CPUs": changed(0, lambda x: x.to("meta")),
        "its noise needs a gradient; the kernels give none": changed(
            3, lambda noise: [n.requires_grad_() for n in noise]
        ),
        "its noise or image is float64 on cpu; the kernels take float32": changed(1, torch.Tensor.double),
        "its parameters are float64; the kernels take float32": with_stage(lambda stage: stage.double()),
        "a hook is attached to its StyledConv": with_stage(
            lambda stage: stage.conv0.register_forward_hook(lambda *args: None)
        ),
        "a hook is attached to its ToImage": with_stage(
            lambda stage: stage.to_image.register_full_backward_pre_hook(lambda *args: None)
        ),
        "Own has no fused form": with_stage(lambda stage: setattr(stage, "__class__", Own)),
        "its OwnStyled has no fused form": with_stage(
            lambda stage: setattr(stage.conv1, "__class__", OwnStyled)
        ),
        "its OwnImage has no fused form": with_stage(
            lambda stage: setattr(stage.to_image, "__class__", OwnImage)
        ),
        "its convolution OwnConv has no fused form": with_stage(
            lambda stage: setattr(stage.conv1, "conv", OwnConv(4, 4, (3, 3, 3)))
        ),
    }
    for reason, (stage, inputs) in cases.items():
        assert why_plain(stage, *inputs) == reason
    stage, inputs = with_stage(lambda stage: setattr(stage.conv1.conv.branches[0], "__class__", OwnConv))
    assert why_plain(stage, *inputs) == "its convolution OwnConv has no fused form"


@needs_kernels
def test_other_reasons_come_from_around_the_network(monkeypatch):
    stage, inputs = stage_and_inputs()
    with torch.autocast("cpu", torch.float16):
        assert why_plain(stage, *inputs).startswith("it runs in float16")
    use_kernels("plain")
    assert why_plain(stage, *inputs) == "kernels are set to plain"
    use_kernels("auto")
    monkeypatch.setenv("VOXFLATE_KERNELS", "plain")
    build.kernels.cache_clear()
    try:
        assert why_plain(stage, *inputs) == "VOXFLATE_KERNELS=plain"
    finally:
        build.kernels.cache_clear()


@needs_kernels
def test_hooks_see_what_they_would_see_on_the_plain_path():
    generator, _ = networks()
    seen = []
    generator.synthesis.stages[1].conv1.conv.register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(output.shape))
    )
    generator(random_tensor(2, 6, dtype=torch.float32))
    assert seen == [(2, 4, 4, 8, 8)]


def test_noise_that_learns_gets_its_gradient():
    generator, _ = networks()
    noise = [n.requires_grad_() for n in noise_for(generator, 2)]
    images = generator(random_tensor(2, 6, dtype=torch.float32), noise=noise)
    for gradient in torch.autograd.grad(images.sum(), noise):
        assert gradient.abs().sum() > 0


@needs_kernels
@pytest.mark.parametrize("name", list(STYLED_CONVS))
def test_recomputed_stages_give_the_same_gradients(name):
    generator = Generator((2, 2, 2), 2, 16, 6, 6, 2, name)
    z, noise = torch.randn(2, 6), noise_for(generator, 2)
    results = []
    for recompute in (False, True):
        generator.synthesis.recompute = recompute
        images = generator(z, noise=noise)
        results.append([images, *torch.autograd.grad(images.square().sum(), list(generator.parameters()))])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_a_path_is_described_in_one_line(monkeypatch):
    generator, discriminator = networks()
    both = [generator, discriminator]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if kernels_in_use() == "compiled":
        line = describe_path(both, CPU, bfloat16=False)
        assert line == "fused path (compiled kernels), float32, on 2 threads"
        monkeypatch.setattr(build, "has_openmp", lambda: False)
        line = describe_path(both, CPU, bfloat16=False)
        assert line == "fused path (compiled kernels on one thread, without OpenMP), float32, on 2 threads"
    use_kernels("plain")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    line = describe_path(both, CPU, bfloat16=True)
    assert line == "plain path (kernels are set to plain), bfloat16, on 1 thread"
    line = describe_path(both, torch.device("cuda:0"), bfloat16=True)
    assert line == "plain path (kernels are for CPUs), bfloat16, on cuda:0"
    use_kernels("auto")
    monkeypatch.setattr(build, "kernels", lambda: build.Kernels(None, "there is no C++ compiler"))
    line = describe_path(both, CPU, bfloat16=False)
    assert line == "plain path (there is no C++ compiler), float32, on 1 thread"
    other = UpsamplingGenerator((16, 16, 16), 8, 4, linear=True)
    line = describe_path([other], CPU, bfloat16=False)
    assert line == "plain path (this model has no fused stages), float32, on 1 thread"


def test_no_kernels_are_built_for_a_gpu(monkeypatch):
    monkeypatch.setattr(build, "kernels", lambda: pytest.fail("built"))
    assert kernels_in_use(torch.device("cuda:0")) == "plain"


def test_an_unknown_choice_of_kernels_is_refused():
    with pytest.raises(VoxflateError, match="'fast' is not one of auto, plain"):
        use_kernels("fast")


def test_what_is_no_stage_runs_as_it_is():
    assert run_stage(torch.nn.Identity(), 3) == 3
