import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tests.strategies import run_config, write_prepared
from tests.training.test_run import same
from voxflate._system.errors import VoxflateError
from voxflate.config.build import Stream
from voxflate.config.toml import with_values
from voxflate.gans.gan import Gan
from voxflate.runs.log import read_rows
from voxflate.runs.snapshots import list_snapshots, load_newest, snapshot_path
from voxflate.training import recorder as recorder_module
from voxflate.training import run as run_module
from voxflate.training.guard import Guard
from voxflate.training.run import train_run

AT_STEP = 4  # after 16 images; the snapshots are those of 0 and 12


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


def contents(run):
    return {path: path.read_bytes() for path in (run / "snapshots").iterdir()}


def injected(monkeypatch, poison, times=1):
    """Call `poison(gan)` before the step after 16 images, the first `times` times."""
    step, calls = Gan.step, []

    def poisoned(self, reals, positions, labels, *, number, train_g):
        if number == AT_STEP and len(calls) < times:
            calls.append(number)
            poison(self)
        return step(self, reals, positions, labels, number=number, train_g=train_g)

    monkeypatch.setattr(Gan, "step", poisoned)


def spoil_weight(network, name):
    def poison(gan):
        getattr(gan, network).get_parameter(name).data.view(-1)[0] = float("nan")

    return poison


def spoil_gradient(network, name, value):
    def poison(gan):
        getattr(gan, network).get_parameter(name).register_hook(lambda gradient: gradient * value)

    return poison


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        (spoil_weight("generator", "synthesis.const"), "weight of generator.synthesis.const"),
        (spoil_weight("discriminator", "epilogue.fc.bias"), "weight of discriminator.epilogue.fc.bias"),
        (spoil_gradient("generator", "synthesis.const", torch.nan), "gradient of generator.synthesis.const"),
        (
            spoil_gradient("discriminator", "epilogue.fc.bias", torch.inf),
            "gradient of discriminator.epilogue.fc.bias",
        ),
    ],
    ids=["weight of G", "weight of D", "gradient of G", "gradient of D"],
)
def test_nan_and_infinity_are_caught_in_their_step_and_named(poison, said, prepared, tmp_path, monkeypatch):
    run = tmp_path / "run"
    injected(monkeypatch, poison)
    with pytest.raises(VoxflateError) as caught:
        train_run(run_config(prepared), run)
    assert f"{run}: {said} is not finite in the step after 16 images" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list_snapshots(run) == sorted(contents(run)) == [snapshot_path(run, 0), snapshot_path(run, 12)]
    assert all(torch.isfinite(tensor).all() for tensor in load_newest(run)[0]["ema"].values())
    monkeypatch.undo()
    train_run(run_config(prepared), run, resume=True)
    assert load_newest(run)[0]["n_images"] == 24


def test_where_nan_spreads_the_layer_nearest_to_the_loss_is_named(prepared, tmp_path, monkeypatch):
    """Gradients run backwards: what is nearer to the loss than the origin stays a number."""

    def spread(module, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * torch.nan)

    def poison(gan):
        gan.generator.get_submodule("synthesis.stages.1.conv0.conv").register_forward_hook(spread)

    injected(monkeypatch, poison)
    with pytest.raises(VoxflateError) as caught:
        train_run(run_config(prepared), tmp_path / "run")
    named = r"gradient of generator\.synthesis\.stages\.1\.conv0\.\S+ \(and \d+ more\) is not finite"
    assert re.search(named, str(caught.value))


def test_nan_in_an_image_is_caught_in_its_step(prepared, tmp_path, monkeypatch):
    """It cannot be in a prepared set, which stores integers."""
    original = Stream.__call__

    def spoiled(self, n_images, size):
        batch = original(self, n_images, size)
        if n_images == 16:
            batch.reals[2].view(-1)[5] = torch.nan
        return batch

    monkeypatch.setattr(Stream, "__call__", spoiled)
    with pytest.raises(VoxflateError, match=r"gradient of discriminator\..* in the step after 16 images"):
        train_run(run_config(prepared), tmp_path / "run")
    assert load_newest(tmp_path / "run")[0]["n_images"] == 12


def test_nan_in_a_prepared_volume_is_refused_before_the_first_step(tmp_path):
    """Prepared voxels are integers, which cannot be NaN; a file of other numbers is no prepared set."""
    data = write_prepared(tmp_path / "data").root
    voxels = np.load(data / "train.npy").astype(np.float32)
    voxels[3, 0, 0, 0] = np.nan
    np.save(data / "train.npy", voxels)
    with pytest.raises(VoxflateError, match=r"train\.npy: holds float32 .* the manifest says int16"):
        train_run(run_config(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_back_with_lower_rates_when_asked_to(prepared, tmp_path, monkeypatch):
    injected(monkeypatch, spoil_weight("generator", "synthesis.const"))
    config = run_config(prepared, training__restores=2, training__restore_lr=0.25)
    told = []
    train_run(config, tmp_path / "run", on_note=told.append)
    state = load_newest(tmp_path / "run")[0]
    assert (state["n_images"], state["restores"], state["lr_scale"]) == (24, 1, 0.25)
    assert state["gan"]["optimizer_g"]["param_groups"][0]["lr"] == pytest.approx(0.25 * config.training.lr_g)
    assert "back from 16 to 12 images, with learning rates times 0.25 (restore 1 of 2)" in told[1]
    (event,) = read_rows(tmp_path / "run" / "events.jsonl")
    assert (event["event"], event["n_images"]) == ("restored", 12)
    rows = read_rows(tmp_path / "run" / "log.jsonl")
    assert [row["since"] for row in rows] == [0, *[row["n_images"] for row in rows[:-1]]]


@pytest.mark.parametrize("reuse_fakes", [False, True])
@pytest.mark.parametrize(
    ("network", "name"), [("generator", "mapping.layers.0.weight"), ("discriminator", "from_image.weight")]
)
def test_nothing_is_left_of_a_step_that_failed(network, name, reuse_fakes, prepared, tmp_path, monkeypatch):
    """With unchanged learning rates, going back once gives what would have come without the failure."""
    config = run_config(
        prepared, training__restores=2, training__restore_lr=1.0, training__reuse_fakes=reuse_fakes
    )
    train_run(config, tmp_path / "whole")
    injected(monkeypatch, spoil_weight(network, name))
    told = []
    train_run(config, tmp_path / "run", on_note=told.append)
    assert len(told) == 2  # how the networks run, then the one restore
    assert f"weight of {network}.{name} is not finite" in told[1]
    whole, restored = (load_newest(tmp_path / run)[0] for run in ("whole", "run"))
    assert restored["restores"] == 1
    same(restored | {"restores": 0}, whole)


def test_what_was_switched_off_for_a_part_of_a_step_is_on_again(prepared, tmp_path, monkeypatch):
    """The generator's step fails while the discriminator stands still."""
    injected(monkeypatch, spoil_gradient("generator", "synthesis.const", torch.nan))
    poisoned = Gan.step

    trainable = []

    def healed(self, *arguments, **options):
        trainable.append(all(p.requires_grad for p in self.discriminator.parameters()))
        if self.generator.synthesis.const._backward_hooks and options["number"] != AT_STEP:
            self.generator.synthesis.const._backward_hooks.clear()
        return poisoned(self, *arguments, **options)

    monkeypatch.setattr(Gan, "step", healed)
    train_run(run_config(prepared, training__restores=1), tmp_path / "run")
    assert load_newest(tmp_path / "run")[0]["n_images"] == 24
    assert len(trainable) == 8  # 6 steps, one of which failed, and the one before it again
    assert all(trainable)


def test_restores_are_counted_over_the_whole_run(prepared, tmp_path, monkeypatch):
    injected(monkeypatch, spoil_weight("generator", "synthesis.const"), times=9)
    config = run_config(prepared, training__restores=2)
    with pytest.raises(VoxflateError, match=r"is not finite .* after 2 restores; earlier snapshots are"):
        train_run(config, tmp_path / "run")
    assert load_newest(tmp_path / "run")[0]["restores"] == 2
    with pytest.raises(VoxflateError, match="after 2 restores"):
        train_run(config, tmp_path / "run", resume=True)
    assert len(list_snapshots(tmp_path / "run")) == 2


def test_a_collapse_is_warned_of_once(prepared, tmp_path, monkeypatch):
    diversities = iter([0.5, 0.05, 0.04])
    monkeypatch.setattr("voxflate.training.recorder.diversity", lambda images, real: next(diversities))
    told = []
    train_run(run_config(prepared), tmp_path / "run", on_note=told.append)
    (event,) = read_rows(tmp_path / "run" / "events.jsonl")
    assert (event["event"], event["n_images"]) == ("collapse", 12)
    assert "samples differ 0.050 times as much as real ones do" in told[1]


def test_diversity_is_one_for_real_images_and_zero_for_equal_ones(prepared):
    from voxflate.data.prepared import from_stored
    from voxflate.runs.fingerprint import diversity, real_diversity

    config = run_config(prepared)
    real = real_diversity(config, prepared)
    volumes = from_stored(prepared.stored("train"))
    assert diversity(volumes, real) == pytest.approx(1)
    assert diversity(np.repeat(volumes[:1], 4, axis=0), real) == 0
    assert real_diversity(run_config(prepared, training__phase="2d"), prepared) > 0


LOOKS = 3
"""Steps between two looks of a guard that behaves as on a GPU."""


@pytest.fixture
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(run_module, "Guard", partial(Guard, every=LOOKS))


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_a_guard_that_looks_rarely_changes_nothing_of_a_healthy_run(prepared, tmp_path, monkeypatch):
    train_run(run_config(prepared), tmp_path / "rarely")
    monkeypatch.undo()
    train_run(run_config(prepared), tmp_path / "always")
    same(load_newest(tmp_path / "rarely")[0], load_newest(tmp_path / "always")[0])
    rows = read_rows(tmp_path / "rarely" / "log.jsonl")
    assert rows
    assert all(np.isfinite(row["loss_g"]) for row in rows)


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_what_a_snapshot_refuses_is_refused_once(prepared, tmp_path, monkeypatch):
    """The bad step lies between the last look and the snapshot after 24 images."""
    injected(monkeypatch, spoil_weight("generator", "synthesis.const"))
    train_run(run_config(prepared, training__restores=3, training__restore_lr=0.25), tmp_path / "run")
    state = load_newest(tmp_path / "run")[0]
    assert (state["n_images"], state["restores"], state["lr_scale"]) == (24, 1, 0.25)


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_bad_gradient_moves_no_weight_until_it_is_looked_at(
    network, value, prepared, tmp_path, monkeypatch
):
    run, weights = tmp_path / "run", []

    def poison(gan):
        parameter = next(getattr(gan, network).parameters())
        weights.append((getattr(gan, network), parameters_to_vector(getattr(gan, network).parameters())))
        parameter.register_hook(lambda gradient: gradient * value)

    injected(monkeypatch, poison)
    with pytest.raises(VoxflateError, match=f"gradient of the {network} is not finite in a step after 16 im"):
        train_run(run_config(prepared), run)
    ((spoiled, before),) = weights
    assert torch.equal(parameters_to_vector(spoiled.parameters()), before)
    assert list_snapshots(run) == [snapshot_path(run, 0), snapshot_path(run, 12)]


@pytest.mark.parametrize("r1_every", [LOOKS, 2])
def test_a_row_has_the_rare_penalty_however_rarely_the_guard_looks(r1_every, prepared, tmp_path, monkeypatch):
    """R1 is computed at the first of every few steps; a row of the steps that are looked at would lack it."""
    config = run_config(prepared)
    config = with_values(config, {"training.r1_every": r1_every, "training.batch": 4, "training.kimg": 0.024})
    monkeypatch.setattr(recorder_module, "LOG_SECONDS", 1e9)  # one row per snapshot
    for name, every in (("always", 1), ("as on a GPU", LOOKS)):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "Guard", partial(Guard, every=every))
            train_run(config, tmp_path / name)
        assert all("r1" in row for row in read_rows(tmp_path / name / "log.jsonl")), name
