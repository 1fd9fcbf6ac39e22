"""The whole study: `python -m studies --scale bench --data SCANS --seeds 3 --out runs/study`.

Trains the runs without a result, then makes the tables and figures of all results. After an interruption, the
same command continues. With --dry-run it prints the plan, the runs, the expected hours and disk space.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.checks import check_data, check_results, check_scale
from studies.children import run_child
from studies.costs import describe
from studies.jobs import check_no_jobs
from studies.plan import ALL_TABLES, Run, Study, plan_of, rows_of, unfinished
from studies.scales import COHORTS, SCALES
from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate._system.extras import missing_extra
from voxflate.config.toml import parse_assignments
from voxflate.data.outside import check_outside_sets

HERE = Path(__file__).parent
LOCAL = HERE / "profiles" / "local"


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or these words."""
    parser = argparse.ArgumentParser(
        prog="python -m studies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="bench")
    parser.add_argument("--data", help="folder of scans, or a prepared set, for every row")
    for cohort in COHORTS:
        parser.add_argument(f"--{cohort}", help=f"the same for the rows {cohort}-..., instead of --data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--seeds",
        type=int,
        default=3,
        help="seeds of a row; at bench scale, less important rows have one fewer",
    )
    parser.add_argument(
        "--tables", default=",".join(map(str, ALL_TABLES)), help="numbers of tables, such as 1,4"
    )
    parser.add_argument("--rows", default="", help="only these rows (presets, or ours), separated by commas")
    parser.add_argument("--own", action="store_true", help="also train our own rows")
    parser.add_argument(
        "--cores",
        type=int,
        default=None,
        help="CPU cores of all runs together (default: all of this machine)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of one run; as many runs at a time as fit the cores"
    )
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of one run, 0 or 1")
    parser.add_argument(
        "--all-gpus",
        type=int,
        default=None,
        help="GPUs of all runs together (default, on this machine: --gpus)",
    )
    parser.add_argument("--memory", type=int, default=4000, help="MB that a run requests from a cluster")
    parser.add_argument(
        "--profile", type=Path, default=LOCAL, help="folder of a Snakemake profile (default: this machine)"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings for every training"
    )
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args(words)


def study_of(a: argparse.Namespace) -> Study:
    """The study given by the command line.

    Raises:
        VoxflateError: If a number or a name is wrong, or the study would be inside a prepared set.
    """
    check_outside_sets(a.out)
    named = {cohort: getattr(a, cohort) or a.data for cohort in COHORTS}
    data = {cohort: str(Path(folder).absolute()) for cohort, folder in named.items() if folder}
    if a.seeds < 1:
        raise VoxflateError(f"--seeds {a.seeds}: at least 1 is needed")
    if a.gpus > 1:
        raise VoxflateError(
            f"--gpus {a.gpus}: a run of a study uses one GPU; for {a.gpus} runs at a time, give --gpus 1 "
            f"--all-gpus {a.gpus}"
        )
    try:
        tables = tuple(sorted({int(number) for number in a.tables.split(",")}))
    except ValueError as error:
        raise VoxflateError(f"--tables {a.tables}: expected numbers, such as 1,4") from error
    if unknown := [number for number in tables if number not in ALL_TABLES]:
        raise VoxflateError(f"--tables {unknown[0]}: choose from 1 to 7; Table 8 comes with Tables 6 and 7")
    rows = tuple(name for name in a.rows.split(",") if name)
    study = Study(
        a.out.resolve(), a.scale, data, a.seeds, tables, rows, a.own, a.threads, a.gpus, a.memory,
        parse_assignments(a.set),
    )  # fmt: skip
    rows_of(study)
    return study


def snakemake(study: Study, a: argparse.Namespace, lock: int, *targets: str) -> int:
    """Run the workflow, which keeps the study's lock while it works; return its exit status."""
    program = Path(sys.executable).with_name("snakemake")
    found = str(program) if program.is_file() else shutil.which("snakemake")
    if found is None:
        raise VoxflateError(missing_extra("study", "a study needs snakemake"))
    words = [found, *targets, "--snakefile", str(HERE / "Snakefile"), "--directory", str(study.out)]
    words += ["--profile", str(a.profile), "--config", f"out={study.out}", *limits(a)]
    status, asked = run_child(words, keep=[lock])
    if asked:
        print("stopped; the same command continues", flush=True)
        sys.exit(128 + asked)
    return status


def limits(a: argparse.Namespace) -> list[str]:
    """Options for what all runs together may use: on this machine always, on a cluster only if asked for.

    There, Snakemake would count the cores and GPUs of all jobs against these numbers.
    """
    cores, gpus = cores_of(a), a.all_gpus
    if gpus is None and _is_local(a):
        gpus = a.gpus
    words = ["--cores", str(cores)] if cores else []
    return [*words, "--resources", f"gpu={gpus}"] if gpus else words


def cores_of(a: argparse.Namespace) -> int | None:
    """Cores that all runs together may use; None for as many as a cluster gives."""
    return a.cores or (available_cores() if _is_local(a) else None)


def _is_local(a: argparse.Namespace) -> bool:
    return bool(a.profile.resolve() == LOCAL.resolve())


def report_failures(study: Study, runs: Sequence[Run]) -> int:
    """Print one line per run without a result; return their number."""
    failed = unfinished(study, runs)
    for run in failed:
        print(f"no result: {run.name}: {_last_line(study, run)}")
    print(f"{len(runs) - len(failed)} of {len(runs)} runs have a result in {study.out / 'results'}")
    return len(failed)


def _last_line(study: Study, run: Run) -> str:
    """The reason, as far as the logs tell."""
    for name in (f"{run.name}-evaluate.log", f"{run.name}.log"):
        path = study.out / "logs" / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            return f"{lines[-1].strip()} ({path})"
    return f"was not started; see the logs of the runs that it needs in {study.out / 'logs'}"


def run_study(a: argparse.Namespace) -> int:
    """Run the rest; exit status 1 if a run has no result."""
    study = study_of(a)
    runs = plan_of(study)
    check_scale(study)
    check_data(study, unfinished(study, runs))
    check_results(study, runs)
    for line in describe(study, runs, cores_of(a)):
        print(line)
    if a.dry_run:
        return 0
    study.out.mkdir(parents=True, exist_ok=True)
    with open(study.out / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VoxflateError(f"{study.out}: another process works on this study; wait for it") from error
        check_no_jobs(study.out)
        study.save()
        if unfinished(study, runs):
            snakemake(study, a, lock.fileno(), "runs")
        missing = report_failures(study, runs)
        if missing == len(runs):
            return 1
        status = snakemake(study, a, lock.fileno(), "tables", "figures", "--force")
    return 1 if missing or status else 0


def main() -> None:
    """Run the study, with errors as one line."""
    try:
        sys.exit(run_study(parsed()))
    except VoxflateError as error:
        print(f"voxflate: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
