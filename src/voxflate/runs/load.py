"""Loads generators from runs and exports, and the state of a run from a snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxflate._system.errors import VoxflateError
from voxflate.config.build import build_run_networks, choose_device
from voxflate.config.migrations import UNNAMED_IN_1
from voxflate.config.schema import DEFAULT_MODEL, RunConfig
from voxflate.config.toml import load_config, with_values
from voxflate.data.labels import JointLabels, joint_labels
from voxflate.data.prepared import PreparedSet
from voxflate.gans.state import TrainingState
from voxflate.runs.chosen import Snapshot, find_snapshot, in_words, kimg_of, load_run_snapshot
from voxflate.runs.exported import Exported, is_exported, read_exported, read_weights, weights_sha256
from voxflate.runs.shipped import locate
from voxflate.runs.snapshots import list_snapshots, load_newest
from voxflate.runs.trained_on import (
    GIVE_FOLDER,
    NEXT_STEP,
    TrainedOn,
    check_trained_on,
    open_data,
    own_set,
)


@dataclass(frozen=True)
class Loaded:
    """A generator, and where it comes from.

    Attributes:
        network: The averaged generator, in evaluation mode and without gradients.
        settings: Settings of its run.
        n_images: Images that it has seen.
        weights_sha256: SHA-256 of the safetensors file that `voxflate export` writes for its weights.
        snapshot: How its snapshot was chosen: "newest", "best", a number of kimg; "" for old exports.
        seconds: Seconds of training up to its snapshot; None for old exports.
        skipped: Why newer snapshots were skipped, one line each.
        trained_on: Content hash of the data that it was trained on.
        other_data: A remark if the prepared set is another one; else "".
    """

    network: nn.Module
    settings: RunConfig
    n_images: int
    weights_sha256: str
    snapshot: str
    seconds: float | None
    skipped: tuple[str, ...] = ()
    trained_on: str = ""
    other_data: str = ""

    @property
    def kimg(self) -> float:
        """Thousands of images that the generator has seen."""
        return self.n_images / 1000

    @property
    def identity(self) -> dict[str, Any]:
        """Description of the generator in files made with it."""
        return {
            "snapshot": self.snapshot,
            "n_images": self.n_images,
            "kimg": self.kimg,
            "generator_sha256": self.weights_sha256,
            "trained_on": self.trained_on,
            **({"other_data": self.other_data} if self.other_data else {}),
        }

    def __str__(self) -> str:
        return f"the generator after {self.kimg:g} kimg (weights {self.weights_sha256[:12]})"


@dataclass(frozen=True)
class Source:
    """A run or an export, checked before any network is loaded.

    Attributes:
        folder: Its folder.
        settings: Its settings, with the caller's changes.
        prepared: The set that defines the position and values of volumes. That of an export without data
            has no scans.
        exported: The content of an export; None for a run.
        trained_on: Content hash of the data that it was trained on.
        other_data: A remark if `prepared` is another set; else "".
        labels: Joint distribution of its training set's labels, also where `prepared` is another set; None if
            the generator knows no labels.
    """

    folder: Path
    settings: RunConfig
    prepared: PreparedSet
    exported: Exported | None
    trained_on: str
    other_data: str = ""
    labels: JointLabels | None = None

    def check(self, snapshot: Snapshot) -> None:
        """Refuse a snapshot that does not exist, before anything is loaded.

        Raises:
            VoxflateError: Lists the existing ones.
        """
        if self.exported is not None:
            check_exported_snapshot(self.exported, snapshot)
        else:
            find_snapshot(self.folder, snapshot)

    def load(self, snapshot: Snapshot = "newest", device: str | None = None) -> Loaded:
        """Load the generator.

        Args:
            snapshot: The snapshot; an export has only one.
            device: Device; None for the `training.device` of the settings.

        Raises:
            VoxflateError: If the device or snapshot does not exist, or the snapshot is damaged or belongs to
                other networks.
        """
        where = choose_device(device or self.settings.training.device)
        if self.exported is not None:
            loaded = _load_exported(self.exported, self.settings, snapshot, where)
        else:
            loaded = self._load_from_run(snapshot, where)
        return replace(loaded, trained_on=self.trained_on, other_data=self.other_data)

    def _load_from_run(self, snapshot: Snapshot, device: torch.device) -> Loaded:
        skipped: list[str] = []
        state, path = load_run_snapshot(self.folder, snapshot, skipped.append)
        check_networks(state, self.settings, path)
        return Loaded(
            generator_of(self.settings, state["ema"], path).to(device),
            self.settings,
            state["n_images"],
            weights_sha256(state["ema"]),
            in_words(snapshot),
            state["seconds"],
            tuple(skipped),
        )


def open_source(
    folder: Path,
    data: Path | None = None,
    device: str | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    scans: bool = False,
    other_data: bool | None = False,
) -> Source:
    """Open a run or an export, and check everything that can be checked without loading a network.

    Args:
        folder: The run, the export, or the name of a generator included in the package.
        data: Folder of its prepared set; None to use the one named in the run. An export needs none to
            generate.
        device: As `training.device`; None for the run's own, and auto for an export.
        values: Other changes of the settings, by dotted key.
        scans: Whether real volumes are also needed.
        other_data: Accept a prepared set that it was not trained on; the result says so, and by default as
            many volumes are measured as that set has. None if the caller never accepts one, so that the
            error does not advise it.

    Raises:
        VoxflateError: If there is no such run, it has no snapshot, its data cannot be opened, has another
            shape or other labels or is not its training data, the labels of its training data are needed and
            gone, or a value is wrong.
    """
    folder = locate(folder)
    exported = read_exported(folder) if is_exported(folder) else None
    settings = _settings(folder, exported, data, device, values or {})
    if exported is None and not list_snapshots(folder):
        raise VoxflateError(f"{folder}: no snapshot to load; is it the folder of a run that has started?")
    knows_labels = settings.network.label_width > 0
    labels = exported.labels if exported is not None and knows_labels else None
    if exported is not None and not settings.data:
        if scans:
            raise VoxflateError(
                f"{folder}: is an export, which has no scans; give the prepared set that it was trained on "
                "with --data FOLDER"
            )
        content = exported.geometry.content_hash
        return Source(folder, settings, exported.geometry, exported, content, labels=labels)
    prepared = open_data(settings.data, data is not None)
    if settings.training.phase == "3d" and prepared.shape != settings.network.shape:
        raise VoxflateError(
            f"{prepared.root}: has volumes of {prepared.shape}, {folder} makes {settings.network.shape}; "
            "give the prepared set that it was trained on"
        )
    try:
        prepared.layout.check_networks(settings.network.image_channels, settings.network.label_width)
    except VoxflateError as error:
        raise VoxflateError(f"{prepared.root}: is not the data of {folder}: {error}") from error
    known = TrainedOn.of_run(folder) if exported is None else TrainedOn.of_export(exported)
    next_step = GIVE_FOLDER if other_data is None else NEXT_STEP
    remark = check_trained_on(prepared, known, folder, next_step, labels=knows_labels, go_on=bool(other_data))
    if remark and "evaluation.samples" not in (values or {}):
        # The number in a run's settings is that of its own volumes (decision 0140).
        settings = with_values(settings, {"evaluation.samples": 0})
    if exported is None and knows_labels:
        labels = _own_labels(folder, prepared, remark)
    return Source(folder, settings, prepared, exported, known.content, remark, labels)


def _settings(
    folder: Path, exported: Exported | None, data: Path | None, device: str | None, values: Mapping[str, Any]
) -> RunConfig:
    """The settings of a run or an export with the caller's changes."""
    settings = load_config(folder) if exported is None else exported.settings
    settings = with_values(settings, values, "--set")
    if data is not None:
        settings = with_values(settings, {"data": str(data.absolute())}, "--data")
    if device is not None or exported is not None:
        settings = with_values(settings, {"training.device": device or "auto"}, "--device")
    return settings


def _own_labels(run: Path, prepared: PreparedSet, remark: str) -> JointLabels | None:
    """Labels as a run has learned them; those of another set would be encoded in another way."""
    own = own_set(run, labels=True) if remark else prepared
    if own is None:
        raise VoxflateError(
            f"{run}: draws the labels of its samples from its training data, which has changed or cannot be "
            f"opened at {load_config(run).data}; put it back there, or use an export of the run, which keeps "
            "the labels"
        )
    return joint_labels(own)


def check_volumes(source: Source) -> None:
    """Refuse a 2D run if volumes are needed.

    Raises:
        VoxflateError: Names it.
    """
    if source.settings.training.phase != "3d":
        raise VoxflateError(f"{source.folder}: is a 2D run; use a 3D run, made by voxflate train")


def _load_exported(
    exported: Exported, settings: RunConfig, snapshot: Snapshot, device: torch.device
) -> Loaded:
    check_exported_snapshot(exported, snapshot)
    network = generator_of(settings, read_weights(exported), exported.folder)
    return Loaded(
        network.to(device),
        settings,
        exported.n_images,
        exported.weights_sha256,
        exported.snapshot,
        exported.seconds,
    )


def check_exported_snapshot(exported: Exported, which: Snapshot) -> None:
    """Refuse a snapshot other than the only one in an export.

    Raises:
        VoxflateError: Names the snapshot in the export.
    """
    kimg = kimg_of(which)
    if which in ("newest", exported.snapshot) or (
        kimg is not None and math.isclose(kimg * 1000, exported.n_images)
    ):
        return
    chosen = f", chosen as {exported.snapshot}" if exported.snapshot else ""
    raise VoxflateError(
        f"{exported.folder}: is an export with one generator, after {exported.n_images / 1000:g} "
        f"kimg{chosen}, and has no snapshot {which}; leave the snapshot out"
    )


def load_state(state: TrainingState, run: Path, config: RunConfig, note: Callable[[str], None]) -> None:
    """Load the newest intact snapshot into the state, and report skipped ones with the reason.

    Raises:
        VoxflateError: If there is none, or it belongs to other networks.
    """
    skipped: list[str] = []
    snapshot, path = load_newest(run, skipped.append)
    for reason in skipped:
        note(f"skipped {reason}")
    if skipped:
        note(f"continuing from {path}")
    check_networks(snapshot, config, path)
    try:
        state.load_state_dict(snapshot)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise VoxflateError(f"{path}: does not fit the settings of {run}; start a new run") from error


def check_networks(snapshot: dict[str, Any], config: RunConfig, path: Path) -> None:
    """Refuse a snapshot of other networks; shapes are not enough, as split and shuffled ones have equal ones.

    Raises:
        VoxflateError: Names the first setting that differs.
    """
    # Settings that a snapshot lacks were added later; version 1 has the values from before.
    network = {**UNNAMED_IN_1["network"], **snapshot["network"]}
    made = {"model": snapshot.get("model", DEFAULT_MODEL), **_dotted(network)}
    wanted = {"model": config.model, **_dotted(config.network.model_dump(mode="json"))}
    for name in sorted(made.keys() | wanted.keys()):
        if made.get(name) != wanted.get(name):
            raise VoxflateError(
                f"{path}: was made with {name} = {made.get(name)}, the settings say "
                f"{wanted.get(name)}; use the run's own config.toml, or start a new run"
            )


def _dotted(network: dict[str, Any]) -> dict[str, Any]:
    return {f"network.{name}": value for name, value in network.items()}


def generator_of(config: RunConfig, weights: dict[str, Tensor], path: Path) -> Any:
    """Build a run's generator around weights from a file.

    Raises:
        VoxflateError: If they do not fit; memory is allocated only if they do.
    """
    refusal = f"{path}: its networks are not those of its settings"
    try:
        with torch.device("meta"):  # only sizes are needed
            expected = build_run_networks(config)["generator"].state_dict()
        if {name: tensor.shape for name, tensor in expected.items()} != {
            name: tensor.shape for name, tensor in weights.items()
        }:
            raise VoxflateError(refusal)
        with torch.random.fork_rng(devices=[]):  # these weights are discarded
            generator = build_run_networks(config)["generator"]
        generator.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise VoxflateError(refusal) from error
    return generator.eval().requires_grad_(False)
