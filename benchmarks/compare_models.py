"""Trains the six models of the paper's Tables 6 and 7 on one prepared set, for the same number of images.

    python -m benchmarks.compare_models DATA --twin RUN2D --out FOLDER --kimg 20 --grid-kimg 4 --threads 1

First every model tries a small grid of settings in short runs and keeps the one with the smallest kernel
distance (KID) to the held-out volumes: FOLDER/choice/MODEL.json has all results. Then it trains in
FOLDER/runs/MODEL-seed0 and so on. A repeated call skips finished runs, continues interrupted ones, and with a
larger --kimg continues all; the tables have the runs of this --kimg only. Other data, grids or settings need
another FOLDER. FOLDER/study.log has the log; table.md, table.json and the sheets are written
after every run. `--models` selects some models, so that two processes can share the
work; a last call without it writes the whole table.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arguments import parser_of
from benchmarks.sheets import page_of

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, whole_file, write_json
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values, load_config, parse_assignments, with_values
from voxflate.data.prepared import open_prepared
from voxflate.data.shapes import split_shape
from voxflate.drawing.sheets import sample_sheet
from voxflate.evaluation.seeds import spread
from voxflate.reports.tables import PLUS_MINUS
from voxflate.runs.facts import FACTS_NAME
from voxflate.runs.log import LOG_NAME, METRICS_NAME, read_rows
from voxflate.runs.snapshots import list_snapshots, snapshot_path
from voxflate.training.run import train_run

log = logging.getLogger("compare_models")
OPTIONS = "options.json"
GRID_SEED = 100
SNAPSHOTS = 10  # of a final run
KID = "kid-mobilenetv2-heldout-avg"
FIGURES = {
    "FD-ax": "frechet-mobilenetv2-ax",
    "FD-sag": "frechet-mobilenetv2-sag",
    "FD-cor": "frechet-mobilenetv2-cor",
    "FD-avg": "frechet-mobilenetv2-avg",
    "KID-avg": "kid-mobilenetv2-avg",
    "KID held out": KID,
    "precision": "precision-mobilenetv2-avg",
    "recall": "recall-mobilenetv2-avg",
    "pairwise L2": "pairwise-l2",
}


@dataclass(frozen=True)
class Entry:
    """One system of the comparison.

    Attributes:
        preset: Its row of the paper's table, at bench scale.
        rates: Learning rates to try, for all of its networks.
        others: Further settings to try, each with the middle rate.
        repeats: Whether it is trained with every seed, or only with the first.
    """

    preset: str
    rates: tuple[float, float, float]
    others: tuple[dict[str, Any], ...] = ()
    repeats: bool = False

    def candidates(self) -> list[dict[str, Any]]:
        """The grid, as settings by dotted key."""
        tried: list[dict[str, Any]] = [{"training.lr_g": rate, "training.lr_d": rate} for rate in self.rates]
        return tried + [tried[1] | values for values in self.others]


LAYER_NORM: dict[str, Any] = {"network.critic_norm": "layer"}
ENTRIES = {
    "3d-wgan-gp": Entry(
        "coca64-wgan-gp@bench", (0.0001, 0.0003, 0.001), (LAYER_NORM, {"comparison.critic_steps": 1})
    ),
    "3d-vae-gan": Entry("coca64-vae-gan@bench", (0.0001, 0.0003, 0.001)),
    "3d-alpha-gan": Entry("coca64-alpha-gan@bench", (0.0001, 0.0003, 0.001)),
    "3d-alpha-wgan-gp": Entry("coca64-alpha-wgan-gp@bench", (0.0001, 0.0003, 0.001), (LAYER_NORM,)),
    "split-shuffle": Entry("coca64-split-shuffle-inflate-1@bench", (0.001, 0.002, 0.004), repeats=True),
    "3d-stylegan2": Entry("coca64-baseline@bench", (0.00125, 0.0025, 0.005), repeats=True),
}
INFLATED = "split-shuffle"


@dataclass(frozen=True)
class Study:
    """The options of the command line."""

    data: Path
    twin: Path | None
    out: Path
    kimg: float
    grid_kimg: float
    threads: int
    seeds: int
    samples: int
    values: dict[str, Any]

    def settings(self, name: str, seed: int, kimg: float, snapshots: int) -> RunConfig:
        """Settings of a run except those of the grid."""
        entry = ENTRIES[name]
        base, stages = split_shape(open_prepared(self.data).shape)
        values: dict[str, Any] = {
            "data": str(self.data.absolute()),
            "network.base": base,
            "network.stages": stages,
            "training.kimg": kimg,
            "training.snapshot_kimg": kimg / snapshots,
            "training.threads": self.threads,
            "training.seed": seed,
            "training.keep": 1,
            "evaluation.samples": self.samples,
        }
        if name == INFLATED and self.twin:
            values["start.twin"] = str(self.twin.absolute())
        return from_values({"preset": entry.preset, **values, **self.values})

    def options(self) -> dict[str, Any]:
        """What all runs of the folder share, as JSON has it; the 2D run only where it is given."""
        found = {
            "data": open_prepared(self.data).content_hash,
            "grid_kimg": self.grid_kimg,
            "samples": self.samples,
            "set": self.values,
        }
        twin = {"twin": str(self.twin.resolve())} if self.twin else {}
        return dict(json.loads(json.dumps(found | twin)))

    def folder(self, name: str, seed: int) -> Path:
        """Folder of a final run."""
        return self.out / "runs" / f"{name}-seed{seed}"

    def seeds_of(self, name: str) -> range:
        """Seeds of a model's trainings."""
        return range(self.seeds if ENTRIES[name].repeats else 1)


def check_options(study: Study) -> None:
    """Refuse to mix runs and choices of other options; OPTIONS has those of the first call.

    Raises:
        VoxflateError: Names the first option that differs.
    """
    path = study.out / OPTIONS
    before = read_json(path) if path.exists() else {}
    options = study.options()
    for key, value in options.items():
        if before.get(key, value) != value:
            raise VoxflateError(f"{path}: has {key} = {before[key]}, not {value}; give another --out")
    write_json(path, before | options)


def train_to_end(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Start, continue or skip a run; return its last measurement."""
    row = last_measurement(config, folder)
    if row is None:
        begun = bool(list_snapshots(folder))
        log.info("%s: %s", folder, "goes on" if begun else "begins")
        reported = -1

        def tell(progress: Any) -> None:
            nonlocal reported
            tenth = 10 * progress.n_images // progress.total
            if tenth > reported:
                reported = tenth
                speed = progress.images_per_second
                log.info("%s: %d images, %.1f images/s", folder, progress.n_images, speed)

        train_run(config, folder, resume=begun, on_progress=tell)
        row = last_measurement(config, folder)
        assert row is not None  # a run's end is always measured
    return row


def last_measurement(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    """The measurement at the run's end, if it exists."""
    rows = read_rows(folder / METRICS_NAME)
    finished = rows and rows[-1]["n_images"] >= round(config.training.kimg * 1000)
    return rows[-1] if finished else None


def choose(study: Study, name: str) -> dict[str, Any]:
    """Try the grid; return the settings with the smallest KID to the held-out volumes.

    Raises:
        VoxflateError: If every setting diverged.
    """
    path = study.out / "choice" / f"{name}.json"
    if path.exists():
        chosen: dict[str, Any] = read_json(path)["chosen"]
        return chosen
    tried = []
    for number, values in enumerate(ENTRIES[name].candidates()):
        folder = study.out / "choice" / name / str(number)
        config = with_values(study.settings(name, GRID_SEED, study.grid_kimg, 1), values)
        try:
            row = train_to_end(config, folder)
            figures = {key: row[key] for key in FIGURES.values()}
        except VoxflateError as error:
            log.warning("%s %s: %s", name, values, error)
            figures = {"error": str(error)}
        log.info("%s %s: %s", name, values, figures.get(KID, "diverged"))
        tried.append({"values": values, **figures})
    usable = [entry for entry in tried if KID in entry]
    if not usable:
        raise VoxflateError(f"{name}: every setting of its grid diverged; see {study.out / 'study.log'}")
    best = min(usable, key=lambda entry: float(entry[KID]))
    write_json(path, {"chosen": best["values"], "by": KID, "kimg": study.grid_kimg, "tried": tried})
    return dict(best["values"])


def is_ready(study: Study, name: str) -> bool:
    """Tell whether a model can train; the inflated one needs a finished 2D run with its architecture."""
    if name != INFLATED:
        return True
    problem = "give --twin RUN2D, a plain 2D run of the split-shuffle architecture"
    if study.twin:
        twin = load_config(study.twin)
        end = snapshot_path(study.twin, round(twin.training.kimg * 1000))
        found = (twin.training.phase, twin.training.twin, twin.network.architecture)
        if found == ("2d", "plain", "split-shuffle"):
            if end.exists():
                return True
            problem = f"{study.twin} has not reached its {twin.training.kimg:g} kimg; call again when it has"
    log.warning("%s is left out: %s", name, problem)
    return False


def rows_of(study: Study) -> list[dict[str, Any]]:
    """The facts of every finished run of this budget, in the order of the paper's table."""
    rows = []
    for name in ENTRIES:
        for seed in study.seeds_of(name):
            folder = study.folder(name, seed)
            if not (folder / FACTS_NAME).exists():
                continue
            config, facts = load_config(folder), read_json(folder / FACTS_NAME)
            row = last_measurement(config, folder)
            if row is None or config.training.kimg != study.kimg:
                continue
            rows.append(
                {
                    "model": name,
                    "seed": seed,
                    "run": str(folder),
                    "parameters": sum(facts["parameters"].values()),
                    "learning rate": config.training.lr_g,
                    "critic norm": config.network.critic_norm,
                    "critic steps": config.comparison.critic_steps,
                    "batch": config.training.batch,
                    "images": row["n_images"],
                    "seconds": read_rows(folder / LOG_NAME)[-1]["seconds"],
                    **{label: row[key] for label, key in FIGURES.items()},
                    "real": {
                        label: row[f"real-{key}"] for label, key in FIGURES.items() if f"real-{key}" in row
                    },
                    "n-generated": row["n-generated"],
                    "n-real": row["n-real"],
                }
            )
    return rows


def cell(values: Sequence[float]) -> str:
    """The mean, and the standard deviation of more than one value."""
    found = spread(values)
    deviation = "" if found.deviation is None else f" {PLUS_MINUS} {found.deviation:.2g}"
    return f"{found.mean:.4g}{deviation}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line per model, mean and standard deviation over seeds; the real volumes' floor last."""
    heads = ["model", "runs", "parameters", "learning rate", "images", "seconds", *FIGURES]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(row["model"] for row in rows):
        runs = [row for row in rows if row["model"] == name]
        first = runs[0]
        cells = [name, str(len(runs)), f"{first['parameters'] / 1e6:.3f}M", f"{first['learning rate']:g}"]
        cells += [str(first["images"]), f"{statistics.fmean(row['seconds'] for row in runs):.0f}"]
        cells += [cell([row[label] for row in runs]) for label in FIGURES]
        lines.append("| " + " | ".join(cells) + " |")
    floor = [f"{rows[0]['real'][label]:.4g}" if label in rows[0]["real"] else "" for label in FIGURES]
    lines.append("| " + " | ".join(["real halves", "", "", "", "", "", *floor]) + " |")
    return "\n".join(lines) + "\n"


def write_report(study: Study) -> None:
    """Write the table and the sheets of finished runs."""
    rows = rows_of(study)
    if not rows:
        return
    write_json(study.out / "table.json", rows)
    with whole_file(study.out / "table.md") as temporary:
        temporary.write_text(table(rows), encoding="utf-8")
    prepared = open_prepared(study.data)
    reals = prepared.volumes("train", np.arange(8))
    real_sheet = study.out / "real.png"
    sample_sheet(reals, real_sheet, title="real volumes of the training split", spacing=prepared.spacing)
    first = [Path(row["run"]) for row in rows if row["seed"] == 0]
    sheets = [sorted((run / "sheets").glob("*.png"))[-1] for run in first]
    page_of([[sheet] for sheet in [*sheets, real_sheet]], share=1.0).save(study.out / "samples.png")


def run_study(study: Study, names: Sequence[str]) -> None:
    """Choose, train and report, one model after the other; extra seeds come last.

    Raises:
        VoxflateError: If the folder has runs of other options.
    """
    check_options(study)
    ready = [name for name in names if is_ready(study, name)]
    plans = [(name, seed) for name in ready for seed in study.seeds_of(name)]
    for name, seed in sorted(plans, key=lambda plan: plan[1]):
        try:
            values = choose(study, name)
            config = with_values(study.settings(name, seed, study.kimg, SNAPSHOTS), values)
            train_to_end(config, study.folder(name, seed))
        except VoxflateError as error:
            log.error("%s seed %d: %s", name, seed, error)
        write_report(study)
    done = {(row["model"], row["seed"]) for row in rows_of(study)}
    for name in ENTRIES:
        for seed in study.seeds_of(name):
            if (name, seed) not in done:
                log.info("not finished: %s seed %d", name, seed)


def main() -> None:
    """Run the rest of the study."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, help="prepared folder; sides must be multiples of 16")
    parser.add_argument("--twin", type=Path, help="2D run that split-shuffle is inflated from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kimg", type=float, default=20.0, help="thousands of images of a final run")
    parser.add_argument("--grid-kimg", type=float, default=4.0, help="the same for a run of the grid")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of split-shuffle and 3d-stylegan2")
    parser.add_argument("--samples", type=int, default=192, help="generated volumes per measurement")
    parser.add_argument("--models", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings for all models")
    a = parser.parse_args()
    keep_freed_memory()  # as the command line does
    a.out.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(),
        logging.FileHandler(a.out / "study.log", encoding="utf-8"),
    ]
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, handlers=handlers)
    values = parse_assignments(a.set)
    study = Study(a.data, a.twin, a.out, a.kimg, a.grid_kimg, a.threads, a.seeds, a.samples, values)
    try:
        run_study(study, a.models)
    except VoxflateError as error:
        sys.exit(f"compare_models: {error}")


if __name__ == "__main__":
    main()
