"""The arguments and options of `voxflate evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate._system.errors import VoxflateError

if TYPE_CHECKING:
    from voxflate.evaluation import SuiteSettings

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Run folders of voxflate train or pretrain, exports, or folders of volumes from another method.",
    ),
]
Extractors = Annotated[
    list[str] | None,
    typer.Option(
        "--extractor",
        metavar="NAME",
        help="Feature network, or a .pt or .onnx file; repeatable, the first one is the main one. "
        "(default: the run's evaluation.extractor)",
        show_default=False,
    ),
]
VolumeExtractor = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="3D features: none, deepbet, radiomics, or auto (deepbet for the recipe adni, otherwise none).",
    ),
]
Slices = Annotated[int, typer.Option(min=1, help="Slices per plane; 1 is the centre, as in the paper.")]
Replicates = Annotated[
    int, typer.Option(min=0, help="Bootstrap replicates of the intervals; 0 leaves them out.")
]
ValueRange = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW,HIGH",
        help="For a folder of volumes: the values that correspond to the darkest and brightest of the "
        "real ones. (default: the real ones' own, such as -250,650 HU)",
        show_default=False,
    ),
]
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare",
        help="For a folder of volumes: first prepare them like the real ones, with the recorded steps of "
        "--data (orientation, box, shape, intensities).",
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Download Inception's weights if they are missing (91 MB).")
]


@dataclass(frozen=True)
class FolderOptions:
    """The options for reading a folder of volumes."""

    value_range: str | None
    prepare: bool

    def refuse(self) -> None:
        """Refuse them where there is no such folder.

        Raises:
            VoxflateError: Names the option.
        """
        given = "--prepare" if self.prepare else f"--range {self.value_range}"
        if self.prepare or self.value_range is not None:
            raise VoxflateError(
                f"{given}: is for folders of volumes, and a run knows its own values; leave it out"
            )


@dataclass(frozen=True)
class SuiteOptions:
    """The options that choose the metrics, before defaults are filled in."""

    extractors: list[str] | None
    volume_extractor: str
    slices: int
    replicates: int
    seed: int
    device: str | None

    def resolved(self, extractor: str) -> SuiteSettings:
        """The settings of the suite; `extractor` is used if none was given."""
        from voxflate.config.build import choose_device
        from voxflate.evaluation import SuiteSettings

        return SuiteSettings(
            extractors=self.extractors or [extractor],
            volume_extractor=self.volume_extractor,
            slices=self.slices,
            replicates=self.replicates,
            seed=self.seed,
            device=str(choose_device(self.device or "auto")),
        )
