"""Plans the runs of a study: the rows of the paper's tables times seeds, and the 2D runs they start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.own import OWN
from studies.scales import COHORTS, Scale, scale_of
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.config.presets import PRESETS, Preset
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values
from voxflate.data.prepared import MANIFEST

STUDY = "study.json"
ALL_TABLES = (1, 2, 3, 4, 5, 6, 7)
"""Table 8 has other metrics for the rows of Tables 6 and 7."""
TRAINED = "trained"
"""File in the folder of a run that was trained to its end."""
_SEED = "training.seed"


@dataclass(frozen=True)
class Study:
    """The definition of a study, kept in STUDY, so that every stage and later call does the same.

    Attributes:
        out: Its folder.
        scale: Name in `SCALES`.
        data: Cohort -> folder of scans, or prepared set.
        seeds: Largest number of seeds of a row.
        tables: Numbers of the tables.
        presets: Only these rows; empty for all of the tables and of ours.
        own: Whether the scale's own rows are trained together with those of the paper.
        threads: CPU threads of a run.
        gpus: GPUs of a run.
        memory_mb: Memory that a run requests from a cluster, MB.
        values: Settings for every training, by dotted key; they win over the scale's, not over those that
            define a row of ours.
    """

    out: Path
    scale: str
    data: Mapping[str, str]
    seeds: int = 3
    tables: tuple[int, ...] = ALL_TABLES
    presets: tuple[str, ...] = ()
    own: bool = False
    threads: int = 1
    gpus: int = 0
    memory_mb: int = 4000
    values: Mapping[str, Any] | None = None

    def save(self) -> None:
        """Write STUDY, unless it is already the same."""
        content = {name: value for name, value in vars(self).items() if name != "out"}
        path = self.out / STUDY
        if not path.is_file() or read_json(path) != _plain(content):
            write_json(path, _plain(content))

    @classmethod
    def load(cls, out: Path) -> Study:
        """Read STUDY.

        Raises:
            VoxflateError: If there is none.
        """
        content = read_json(out / STUDY)
        tuples = {name: tuple(content[name]) for name in ("tables", "presets")}
        return cls(out=out, **{**content, **tuples})


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: Name of its folder and its result.
        cohort: Its data.
        phase: "2d" or "3d".
        preset: Row of the paper with the scale's suffix; "" for our own row.
        row: Key of `PRESETS` or `OWN`; for a 2D run, that of its first 3D run.
        seed: Seed of the training.
        values: Settings in the command besides the preset.
        twin: Name of the 2D run that it starts from, or "".
    """

    name: str
    cohort: str
    phase: str
    preset: str
    row: str
    seed: int
    values: Mapping[str, Any]
    twin: str

    def settings(self) -> RunConfig:
        """Complete settings, without paths."""
        values = {**self.values, "training.phase": self.phase, "training.seed": self.seed}
        if self.phase == "2d":
            values["start.strategy"] = "none"
        return from_values({"preset": self.preset, **values} if self.preset else values)


def rows_of(study: Study) -> tuple[list[str], list[str]]:
    """Presets of the study's tables, in the paper's order, and rows of ours.

    A scale without rows of the paper has those of ours alone. Rows of ours are all of the scale's, unless
    some are named.

    Raises:
        VoxflateError: If a named row is not among them.
    """
    scale, tables = scale_of(study.scale), set(study.tables)
    of_paper = [
        name for name, preset in PRESETS.items() if preset.exact and preset.row.labels.keys() & tables
    ]
    paper = of_paper if scale.paper else []
    own = list(scale.own) if study.own or not scale.paper else []
    if unknown := [name for name in study.presets if name not in (*paper, *own)]:
        known = f"tables {', '.join(map(str, study.tables))}" if scale.paper else f"{', '.join(own)}"
        raise VoxflateError(f"{unknown[0]}: is not a row of {known}")
    named = [name for name in own if name in study.presets]
    return [name for name in paper if not study.presets or name in study.presets], named or own


def plan_of(study: Study) -> list[Run]:
    """Every run of a study: 2D runs first, then the rows seed by seed, so that a partial study has all rows.

    Raises:
        VoxflateError: If a cohort has no data, if the study's settings contain a seed, or as `rows_of`.
    """
    if _SEED in (study.values or {}):
        raise VoxflateError(f"--set {_SEED}: every run has the seed in its name; --seeds N gives 0 to N-1")
    scale = scale_of(study.scale)
    rows, own = rows_of(study)
    runs = [
        _run_3d(study, scale, name, seed)
        for seed in range(study.seeds)
        for name in rows
        if seed < _seeds_of(study, scale, PRESETS[name])
    ]
    runs += [_own_3d(study, scale, name, seed) for seed in range(study.seeds) for name in own]
    twins: dict[str, Run] = {}
    for run in runs:
        if run.twin and run.twin not in twins:
            twins[run.twin] = _run_2d(study, scale, run)
    if missing := [run.cohort for run in runs if not study.data.get(run.cohort)]:
        raise VoxflateError(f"{missing[0]}: no data is named for these rows; give DATA=FOLDER")
    return [*twins.values(), *runs]


def _seeds_of(study: Study, scale: Scale, preset: Preset) -> int:
    """All seeds for the most important tables, and for both style GANs on brains; otherwise one fewer."""
    many = preset.row.labels.keys() & set(scale.many)
    style = 7 in preset.row.labels and preset.values["model"] == "stylegan2"
    return study.seeds if many or style else max(1, study.seeds - 1)


def _cohort_of(name: str) -> str:
    return next(cohort for cohort in COHORTS if name.startswith(cohort))


def _run_3d(study: Study, scale: Scale, name: str, seed: int) -> Run:
    preset, cohort = PRESETS[name], _cohort_of(name)
    inflated = preset.values["start.strategy"] != "none"
    twin = f"twin-{cohort}-{preset.values['network.architecture']}" if inflated else ""
    values = _values(study, scale, cohort, "3d", scale.paper_3d.get(preset.values["model"]))
    return Run(f"{name}-s{seed}", cohort, "3d", f"{name}{scale.suffix}", name, seed, values, twin)


def _own_3d(study: Study, scale: Scale, name: str, seed: int) -> Run:
    row = OWN[name]
    values = _own_values(study, scale, "3d") | dict(row.values)
    twin = row.twin and f"twin-own-{row.twin}-s{seed}"
    return Run(f"{name}-s{seed}", "coca64", "3d", "", name, seed, values, twin)


def _own_values(study: Study, scale: Scale, phase: str) -> dict[str, Any]:
    network = from_values({"preset": f"coca64-split-shuffle{scale.suffix}"}).network
    return {
        "network.base": list(network.base),
        "network.stages": network.stages,
        # Otherwise a training would take these two from the data, which a plan does not open.
        "network.image_channels": 1,
        "network.label_width": 0,
        **_values(study, scale, "coca64", phase),
    }


def _run_2d(study: Study, scale: Scale, run: Run) -> Run:
    """The 2D run that a 3D one starts from: the same networks.

    One serves all seeds of a row in 3D: the paper, which has one seed, has one 2D run per architecture. Rows
    of ours have one per seed, so that their deviations contain what another 2D run changes.
    """
    if run.row not in OWN:
        values = _values(study, scale, run.cohort, "2d", scale.paper_2d)
        return Run(run.twin, run.cohort, "2d", run.preset, run.row, 0, values, "")
    values = {**_own_values(study, scale, "2d"), "training.twin": OWN[run.row].twin}
    return Run(run.twin, run.cohort, "2d", "", run.row, run.seed, values, "")


def _values(
    study: Study, scale: Scale, cohort: str, phase: str, of_paper: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    sizes = scale.cohorts[cohort]
    kimg = sizes.kimg_2d if phase == "2d" else sizes.kimg_3d
    return {
        **scale.values,
        "training.kimg": kimg,
        "training.snapshot_kimg": kimg / scale.snapshots,
        "training.threads": study.threads,
        **(of_paper or {}),
        **(study.values or {}),
    }


def unfinished(study: Study, runs: Sequence[Run]) -> list[Run]:
    """Runs that have no result yet."""
    return [run for run in runs if not result_path(study, run).is_file()]


def to_train(study: Study, runs: Sequence[Run]) -> list[Run]:
    """Runs that will be trained: those without a result, and the 2D runs whose weights these need.

    A 2D run is trained again even if it has a result, if its folder is gone.
    """
    untrained = [run for run in runs if not (run_path(study, run) / TRAINED).is_file()]
    without = [run for run in unfinished(study, runs) if run in untrained]
    names = {run.name for run in without} | {run.twin for run in without}
    return [run for run in untrained if run.name in names]


def result_path(study: Study, run: Run) -> Path:
    """File of a run's result."""
    return study.out / "results" / f"{run.name}.json"


def run_path(study: Study, run: Run | str) -> Path:
    """A run's folder."""
    return study.out / "runs" / (run if isinstance(run, str) else run.name)


def data_path(study: Study, cohort: str) -> Path:
    """A cohort's prepared set: the given one, or the one that the study makes from the given scans."""
    named = Path(study.data[cohort])
    if (named / MANIFEST).is_file():
        return named
    return study.out / "data" / cohort


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """The value after a round trip through JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}
