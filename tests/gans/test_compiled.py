"""Steps by torch.compile are the steps of the networks as they are, or a line says why they are not taken."""

import copy
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.gans.test_parts import SETTINGS, assert_same_step, gans_of, gradients_of_all_steps, shown_of
from tests.gans.test_stylegan2 import batch_of, weights
from tests.strategies import networks, random_tensor, run_config, write_prepared
from voxflate._system.distributed import World
from voxflate.config.build import build_gan, build_run_networks
from voxflate.gans import compiled, stylegan2
from voxflate.gans import gan as gan_module
from voxflate.gans.compiled import compile_networks
from voxflate.gans.ema import Ema
from voxflate.gans.gan import Gan, Shown
from voxflate.gans.stylegan2 import STYLEGAN2
from voxflate.nn import counted
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import use_kernels
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import load_newest
from voxflate.training.run import train_run

# torch.compile hides this warning of its own where warnings are no errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

STILL = replace(SETTINGS, lr_g=0.0, lr_d=0.0)
"""Steps that move nothing: gradients of later ones do not hang on the rounding of earlier ones."""


@pytest.fixture(autouse=True)
def _traced_and_run_as_they_are(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    use_kernels("plain")
    yield
    use_kernels("auto")
    torch.compiler.reset()


def twice(settings, dims, **sizes):
    """The same networks, to be taken as they are and compiled."""
    generator, discriminator = networks(dims, **sizes)
    made = {"generator": generator, "discriminator": discriminator}
    return [Gan(STYLEGAN2, copy.deepcopy(made), settings) for _ in range(2)]


def compile_(gan, reals, positions=None, labels=None, mode="default"):
    draws = Draws(len(reals), gan.device, range(len(reals)))
    line = compile_networks(gan, mode, Shown(reals, positions, draws, labels=labels))
    assert line.startswith("networks compiled in "), line
    assert gan.settings.compile == mode


@pytest.mark.parametrize("stages", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_step_has_the_gradients_of_the_networks_as_they_are(stages):
    """And nothing is compiled once the training has begun."""
    plain, fast = twice(STILL, 2, stages=stages)
    reals, _ = batch_of("2d", plain)
    before = copy.deepcopy(fast.state_dict())
    random_state = torch.get_rng_state()
    compile_(fast, reals)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for network in fast.networks.values() for p in network.parameters())
    after = fast.state_dict()
    assert after.keys() == before.keys()
    for name in fast.networks:
        assert after[name].keys() == before[name].keys()  # "_orig_mod" would end up in snapshots
        assert all(torch.equal(after[name][key], before[name][key]) for key in before[name])
    compiles = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for number in (0, 1):  # with R1 and without
        seen = gradients_of_all_steps(fast, reals, None, number)
        assert_same_step(seen, gradients_of_all_steps(plain, reals, None, number))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiles > 0
    torch.testing.assert_close(fast.generator.mapping.w_avg, plain.generator.mapping.w_avg)
    assert plain.generator.mapping.w_avg.any()


@pytest.mark.slow
def test_volumes_in_parts_with_recomputed_activations_and_reused_images():
    settings = replace(STILL, micro_batch=2, reuse_fakes=True)
    plain, fast = gans_of("3d", settings, settings)
    for gan in (plain, fast):
        gan.generator.synthesis.recompute = gan.discriminator.recompute = True
    reals, _ = batch_of("3d", plain)
    compile_(fast, reals)
    compiles = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    seen = gradients_of_all_steps(fast, reals, None)
    assert_same_step(seen, gradients_of_all_steps(plain, reals, None))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiles > 0


@pytest.mark.slow
def test_slices_of_a_planar_twin_with_numbers_as_a_gpu_counts_them(monkeypatch):
    monkeypatch.setattr(gan_module, "Draws", partial(Draws, is_counted=True))
    plain, fast = gans_of("planar", STILL, STILL)
    reals, positions = batch_of("planar", plain)
    draws = Draws(len(reals), "cpu", range(len(reals)), is_counted=True)
    assert "compiled" in compile_networks(fast, "default", Shown(reals, positions, draws))
    seen = gradients_of_all_steps(fast, reals, positions, 1)
    assert_same_step(seen, gradients_of_all_steps(plain, reals, positions, 1))


@pytest.mark.slow
def test_a_training_with_labels_ends_with_the_weights_of_the_networks_as_they_are():
    plain, fast = twice(SETTINGS, 3, label_width=3)
    average = Ema(fast.generator, 0.5)
    reals, _ = batch_of("3d", plain)
    labels = random_tensor(4, 3, dtype=torch.float32)
    compile_(fast, reals, labels=labels)
    for number in range(3):
        for gan in (plain, fast):
            gan.step(reals, None, labels, number=number)
        average.update(fast.generator, 4 * (number + 1), 4)
    for name in plain.networks:
        ours, theirs = (weights(gan.networks[name]) for gan in (fast, plain))
        # Adam turns rounding of tiny gradients into steps; most weights agree to the digits of a step.
        assert (ours - theirs).abs().median() < 1e-5
    z = random_tensor(2, 6, dtype=torch.float32)
    noise = [torch.zeros(2, *shape) for shape in fast.generator.synthesis.noise_shapes()]
    made = [network(z, noise=noise, labels=labels[:2]) for network in (average.generator, fast.generator)]
    assert not torch.allclose(*made)  # the average has weights of its own


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of PyTorch's own modules
@pytest.mark.parametrize("autocast", [False, True])
def test_kernels_of_inductor_give_the_same_gradients(autocast, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    settings = replace(STILL, autocast=autocast)
    plain, fast = gans_of("3d", settings, settings)
    reals, _ = batch_of("3d", plain)
    compile_(fast, reals)
    seen, expected = (gradients_of_all_steps(gan, reals, None, 1)[0] for gan in (fast, plain))
    if autocast:  # rounded at other places, so a single small gradient may differ: the whole must agree
        ours, theirs = (torch.cat([each.flatten().double() for each in all_]) for all_ in (seen, expected))
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.995  # 0.9993 with AVX2
        return
    for gradient, known in zip(seen, expected, strict=True):
        scale = known.abs().max().clamp(min=1e-3)
        assert (gradient - known).abs().max() < 1e-4 * scale


def test_counted_numbers_in_a_row_are_those_of_one_draw_after_the_other():
    shapes = [(3,), (1, 2, 2), (5,)]
    one, other = (Draws(2, "cpu", [7, 2**32 - 1], is_counted=True) for _ in range(2))
    one.normal(2)
    other.normal(2)
    made = one.normals(shapes, compiled.compiled(counted.normals, "default"))
    for got, shape in zip(made, shapes, strict=True):
        assert torch.equal(got, other.normal(*shape))
    assert torch.equal(one.uniform(4), other.uniform(4))


@pytest.mark.slow
def test_a_run_goes_on_with_torch_compile_and_without(tmp_path):
    config = run_config(write_prepared(tmp_path / "set"), training__kernels="plain")
    fast = config.model_copy(update={"training": config.training.model_copy(update={"compile": "default"})})
    notes = []
    train_run(config, tmp_path / "whole", stop_at=12)
    train_run(config, tmp_path / "parts", stop_at=4)
    train_run(fast, tmp_path / "parts", resume=True, stop_at=8, on_note=notes.append)
    train_run(config, tmp_path / "parts", resume=True, stop_at=12)
    assert any(note.startswith("networks compiled in ") for note in notes)
    whole, parts = (load_newest(tmp_path / name)[0]["gan"] for name in ("whole", "parts"))
    for name in ("generator", "discriminator"):
        assert parts[name].keys() == whole[name].keys()
        apart = torch.cat([(parts[name][key] - whole[name][key]).flatten().abs() for key in whole[name]])
        assert apart.median() < 1e-5
    sessions = read_facts(tmp_path / "parts")["sessions"]
    assert [session["compile"] for session in sessions] == ["off", "default", "off"]


def declined(gan, mode="default"):
    """The line on a training that is not compiled, which then goes on as it was."""
    line = compile_networks(gan, mode, Shown(torch.zeros(4, 1, 4, 8, 8)))
    assert line.startswith(f"warning: training.compile = {mode} is not used: ")
    assert "\n" not in line
    assert gan.settings.compile == "off"
    return line


def test_what_cannot_be_compiled_is_said_and_goes_on_as_it_was(monkeypatch):
    (gan,) = gans_of("3d", SETTINGS)
    assert compile_networks(gan, "off", shown_of(gan)) == ""
    assert "CUDA graphs need a GPU" in declined(gan, "graphs")
    monkeypatch.setattr(compiled, "kernels_in_use", lambda: "compiled")
    assert "set training.kernels=plain" in declined(gan)
    config = run_config("nowhere", model="wgan-gp", network__base=(8, 8, 8), network__channels=8)
    assert "only the steps of stylegan2" in declined(build_gan(config, build_run_networks(config)))


def test_a_compiler_that_fails_is_not_used(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no\nC++ compiler")

    monkeypatch.setattr(compiled, "BACKEND", fail)
    plain, fast = gans_of("3d", STILL, STILL)
    assert "no C++ compiler" in declined(fast)
    reals, _ = batch_of("3d", plain)
    seen = gradients_of_all_steps(fast, reals, None)
    assert_same_step(seen, gradients_of_all_steps(plain, reals, None))


def test_where_another_process_cannot_compile_none_does(monkeypatch):
    class Other(World):
        def any(self, flag, device):
            return True

    (gan,) = gans_of("3d", STILL)
    gan = Gan(STYLEGAN2, gan.networks, STILL, Other(0, 2))
    monkeypatch.setattr(gan, "rehearse", lambda shown: None)
    assert "another process of this run cannot use it" in declined(gan)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError(), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")])
def test_too_little_memory_is_not_taken_for_a_compiler_that_fails(error, monkeypatch):
    (gan,) = gans_of("3d", STILL)

    def fail(shown):
        raise error

    monkeypatch.setattr(gan, "rehearse", fail)
    with pytest.raises(type(error)):
        compile_networks(gan, "default", shown_of(gan))


def test_cuda_graphs_are_asked_for_and_every_step_begins_anew(monkeypatch):
    """All that can be seen of them without a GPU."""
    asked, marks = [], []

    def compile_nothing(function, **how):
        asked.append(how)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    (gan,) = gans_of("3d", replace(STILL, micro_batch=2, reuse_fakes=True))
    gan.use_compiled("graphs")
    assert [how["mode"] for how in asked] == ["reduce-overhead"] * 3
    reals, _ = batch_of("3d", gan)
    given = []
    of_g = gan.optimizers["generator"]
    of_g.register_step_pre_hook(lambda one, *_: given.append(one.param_groups[0]["params"][0].grad))
    gan.step(reals, None, number=0)
    assert len(marks) == 3  # G, D and R1, however many parts there are
    assert given[0] is not None
    # A graph overwrites what it gave: neither gradients nor images may wait there for another step.
    assert all(p.grad is None for network in gan.networks.values() for p in network.parameters())
    made = []
    monkeypatch.setattr(
        stylegan2, "paint", lambda *inputs: made.append(torch.zeros(2, 1, 4, 8, 8)) or made[-1]
    )
    gan.use_compiled("graphs")
    losses = gan.steps[0].loss.__self__
    losses.loss_g(Shown(reals[:2], draws=Draws(2, "cpu", [1, 2])))
    assert losses._reusable[0].data_ptr() != made[0].data_ptr()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of PyTorch's own modules
def test_graphs_that_cannot_be_recorded_are_counted(monkeypatch):
    """On a CPU none can."""
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    before = compiled._left_out()
    compiled.compiled(lambda x: x + 1, "graphs")(torch.zeros(3))
    assert compiled._left_out() > before
