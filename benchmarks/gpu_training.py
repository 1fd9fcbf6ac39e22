"""The part of `benchmarks.gpu` that trains: the recommended path on prepared volumes, 2D and 3D."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu_session import Results, Session, tried

from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict, with_values
from voxflate.config.values import nested
from voxflate.data.datasets import likeness_to_mirror
from voxflate.data.prepared import open_prepared
from voxflate.data.shapes import split_shape
from voxflate.metrics import extractor
from voxflate.metrics.extractors.efficientnet import EFFICIENTNET_WEIGHTS
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.snapshots import images_of, list_snapshots
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share
from voxflate.training.cautions import ONE_SIDED
from voxflate.training.run import train_run
from voxflate.training.stop import StopRequest

SHARE_2D = 0.3
"""Share of the training time for the 2D twin."""
LEAST_SECONDS = 60.0
"""The training gets this long even if the parts before it used up the time."""
SPARE_SECONDS = 45.0
"""For the metrics, the sheet and the export after the training."""


def training(session: Session) -> Results:
    """Train the recommended path for the remaining time; measure and export what it ends with."""
    left = max(LEAST_SECONDS, session.seconds_left() - (0.0 if session.toy else SPARE_SECONDS))
    ends = time.monotonic() + left
    twin, run = session.out / "2d", session.out / "3d"
    values = settings(session)
    start = {"start.twin": str(twin.absolute()), "start.strategy": "preserving"}
    config_2d = from_dict(nested({**values, "training.phase": "2d"}), "gpu")
    yield "extractor", config_2d.evaluation.extractor
    yield "images_2d", trained(config_2d, twin, SHARE_2D * left)
    slices = {"slice_discriminator.features": "random"} if session.toy else slices_if_possible()
    config_3d = from_dict(nested({**values, "training.phase": "3d", **start, **slices}), "gpu")
    yield "slice_discriminator", config_3d.slice_discriminator.weight > 0
    yield "images_3d", trained(config_3d, run, ends - time.monotonic())
    yield "metrics", tried(session, lambda: metrics_at_the_end(config_3d, run))
    share(run, "folder", session.out / "generator", Words())
    yield "generator", "generator"
    yield "sheet", str(sorted((run / "sheets").glob("*.png"))[-1].relative_to(session.out))


def settings(session: Session) -> dict[str, Any]:
    """Settings of both phases by dotted key; nothing is measured on the way, because the GPU would wait."""
    prepared = open_prepared(session.data)
    base, stages = split_shape(prepared.shape)
    values = {
        "data": str(session.data.absolute()),
        "network.base": base,
        "network.stages": stages,
        "training.device": str(session.device),
        "training.flip": likeness_to_mirror(prepared.stored("train")) >= ONE_SIDED,
        "training.reuse_fakes": True,
        "training.snapshot_kimg": 0.008 if session.toy else 10.0,
        "evaluation.every": 0,
        "evaluation.samples": 8 if session.toy else 148,
        "evaluation.extractor": "random" if session.toy else chosen_extractor(),
    }
    toy = {"network.channels": 8, "training.batch": 4, "training.kimg": 0.016}
    return {**values, **(toy if session.toy else {})}


def chosen_extractor() -> str:
    """MobileNetV2 if its weights are installed, else random features."""
    try:
        extractor("mobilenetv2")
    except VoxflateError:
        return "random"
    return "mobilenetv2"


def slices_if_possible() -> dict[str, Any]:
    """Settings that leave out the slice discriminator if its weights are not installed."""
    try:
        EFFICIENTNET_WEIGHTS.find()
    except VoxflateError:
        return {"slice_discriminator.weight": 0.0}
    return {}


def trained(config: RunConfig, run: Path, seconds: float) -> int:
    """Train until the settings' end or for some seconds; return the images that the saved state has seen."""
    stop = StopRequest()
    timer = threading.Timer(max(1.0, seconds), lambda: setattr(stop, "requested", True))
    timer.start()
    try:
        with suppress(TrainingStopped):  # as planned: everything is saved
            train_run(config, run, stop=stop)
    finally:
        timer.cancel()
    return images_shown(run)


def images_shown(run: Path) -> int:
    """Images that the newest snapshot has seen."""
    return images_of(list_snapshots(run)[-1])


def metrics_at_the_end(config: RunConfig, run: Path) -> dict[str, Any]:
    """Resume where the training ended, which makes the sheet and the metrics of this state."""
    measured = with_values(config, {"evaluation.every": 1})
    train_run(measured, run, resume=True, stop_at=images_shown(run))
    row = read_rows(run / METRICS_NAME)[-1]
    metrics = {name: value for name, value in row.items() if name.endswith("-avg") or name == "pairwise-l2"}
    return {"n_images": row["n_images"], **metrics}
