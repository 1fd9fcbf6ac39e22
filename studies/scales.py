"""Scales of the study: shapes, budgets and seeds as in the paper, for two CPU cores, and for a test.

A scale changes the settings that a preset leaves to the machine (shape, budget, batch), but not those that
define the paper's row: model, architecture, start, networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studies.own import OWN, own_key
from voxflate._system.errors import VoxflateError

COHORTS = ("coca64", "coca128", "adni64")
"""Data of the paper's rows: heart CT (Tables 1 to 4, 6), finer heart CT (Table 5), brain MRI (Table 7)."""


_WITH_RECONSTRUCTION = ("vae-gan", "alpha-gan", "alpha-wgan-gp")


@dataclass(frozen=True)
class Cohort:
    """One prepared set.

    Attributes:
        shape: Shape of every volume, (D, H, W), voxels.
        recipe: Recipe of `voxflate prepare`.
        kimg_2d: Length of its 2D trainings.
        kimg_3d: Length of its 3D trainings.
    """

    shape: tuple[int, int, int]
    recipe: str
    kimg_2d: float
    kimg_3d: float


@dataclass(frozen=True)
class Scale:
    """A size of the study.

    Attributes:
        suffix: Suffix of the presets: "" or "@bench".
        cohorts: Cohorts by name.
        snapshots: Number of snapshots of a 3D training, besides the one at kimg 0.
        values: Settings of every training, by dotted key.
        paper_2d: Settings of the 2D trainings of the paper's rows.
        paper_3d: Settings of the 3D trainings of the paper's rows, by model.
        many: Tables whose rows have all requested seeds; others have one fewer, at least one.
        replicates: Bootstrap replicates of an evaluation.
        own: Rows of ours, by key in `OWN`, which `--own` adds to the paper's.
        paper: Whether it has the paper's rows; without them it is a study of our own rows.
    """

    suffix: str
    cohorts: Mapping[str, Cohort]
    snapshots: int
    values: Mapping[str, Any] = field(default_factory=dict)
    paper_2d: Mapping[str, Any] = field(default_factory=dict)
    paper_3d: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    many: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    replicates: int = 200
    own: tuple[str, ...] = (own_key("preserving", slices=False), own_key("preserving", slices=True))
    paper: bool = True


SCALES: Mapping[str, Scale] = {
    "paper": Scale(
        "",
        {
            "coca64": Cohort((32, 64, 64), "coca", 25_000, 5_000),
            "coca128": Cohort((32, 128, 128), "coca", 25_000, 5_000),
            "adni64": Cohort((64, 64, 64), "adni", 25_000, 5_000),
        },
        snapshots=25,
        values={"training.keep": 1},
    ),
    # Brains for every row, because they are available; docs/studies.md tells what this can show. Batches and
    # rates are those with which networks get past the noise in so few images (decision 0227).
    "bench": Scale(
        "@bench",
        {
            "coca64": Cohort((16, 32, 32), "adni", 40, 6),
            "coca128": Cohort((16, 64, 64), "adni", 40, 4),
            "adni64": Cohort((32, 32, 32), "adni", 40, 5),
        },
        snapshots=6,
        values={"training.flip": True, "training.keep": 1},
        paper_2d={"training.lr_g": 0.004, "training.lr_d": 0.004},
        paper_3d={
            "stylegan2": {"training.reuse_fakes": True, "training.batch": 2, "training.mbstd_group": 2},
            "wgan-gp": {"training.lr_g": 0.0003, "training.lr_d": 0.0003},
            **{name: {"training.lr_g": 0.001, "training.lr_d": 0.001} for name in _WITH_RECONSTRUCTION},
        },
        many=(1, 3, 4),
    ),
    # Is inflation still worth it beside the slice discriminator, and from which start?
    "starts": Scale(
        "@bench",
        {"coca64": Cohort((16, 32, 32), "adni", 30, 25)},
        snapshots=10,
        values={"training.flip": True, "training.keep": 1, "training.reuse_fakes": True},
        own=tuple(OWN),
        paper=False,
    ),
    "toy": Scale(
        "@bench",
        {
            "coca64": Cohort((16, 32, 32), "mr", 0.016, 0.016),
            "coca128": Cohort((16, 64, 64), "mr", 0.016, 0.008),
            "adni64": Cohort((32, 32, 32), "adni", 0.016, 0.008),
        },
        snapshots=2,
        values={
            "network.channels": 8,  # the minimum for the comparison models
            "network.z_dim": 8,
            "training.batch": 4,
            "training.keep": 1,
            "training.precision": "fp32",
            "evaluation.extractor": "random",
        },
        replicates=5,
    ),
}


def scale_of(name: str) -> Scale:
    """A scale by its name.

    Raises:
        VoxflateError: If there is none.
    """
    if name not in SCALES:
        raise VoxflateError(f"scale {name}: choose one of {', '.join(SCALES)}")
    return SCALES[name]
