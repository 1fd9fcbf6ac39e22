"""Train a 3D style GAN on volumes by inflating a 2D one trained on their slices.

The public API, from a trained run or an export to new volumes:

    brains = voxflate.load("runs/3d", snapshot="best")
    scans = brains.sample(4, seed=0, truncation=0.7)  # [4, D, H, W] in [-1, 1]
    scans.save("new-scans/brain.nii.gz")

Importing the package loads neither PyTorch nor NumPy; `load` and the classes do. `docs/paper-map.md` lists
the file for each section of the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxflate._system.errors import VoxflateError
from voxflate._system.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from voxflate.sampling.trained import TrainedGenerator
    from voxflate.sampling.volumes import Volumes

__all__ = ["TrainedGenerator", "Volumes", "VoxflateError", "__version__", "load"]


def load(
    path: str | Path,
    *,
    snapshot: str | float = "newest",
    data: str | Path | None = None,
    device: str | None = None,
    other_data: bool = False,
) -> TrainedGenerator:
    """Load a trained generator.

    Args:
        path: Folder of a 3D run of `voxflate train`, or of a generator that `voxflate export` wrote; or the
            name of a generator included in the package: "brains-16".
        snapshot: Snapshot of the run: "newest", "best" (lowest kernel distance to the held-out volumes),
            or its number of kimg. An export has only one.
        data: Folder of the prepared set that defines the position of volumes; None to use the one named in
            the run. An export needs none.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"; None for the run's own
            `training.device`, and auto for an export.
        other_data: Accept, with a warning, a `data` set that it was not trained on; files then say so.

    Returns:
        The averaged generator, ready to sample.

    Raises:
        VoxflateError: If there is no such folder or name, it is neither a 3D run nor an export, there is no
            such snapshot, a file is damaged, the run's data is missing or is another set, or the
            device does not exist.
    """
    from voxflate.sampling.trained import load_trained

    return load_trained(path, snapshot, data, device, other_data)


def __getattr__(name: str) -> Any:
    """Import the public classes on first access."""
    if name == "TrainedGenerator":
        from voxflate.sampling.trained import TrainedGenerator

        return TrainedGenerator
    if name == "Volumes":
        from voxflate.sampling.volumes import Volumes

        return Volumes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
