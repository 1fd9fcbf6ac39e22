"""`voxflate generate` and `voxflate evaluate`: what a trained run gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from voxflate.cli.options import Assignments, DryRun, MovedData, Seed, Snapshot
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.configfile import parse_assignments
from voxflate.files import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

Truncation = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="1 gives the full variety, less is more typical, 0 the average."),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="auto (a GPU if there is one), cpu, cuda or cuda:N. (default: the run's training.device)",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="Volumes made at a time; it does not change them.")]


def generate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train, or of an export.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the volumes.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many volumes.")] = 10,
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="nifti|dicom",
            help="NIfTI files, or a folder of DICOM slices for each volume (CT or MR).",
        ),
    ] = "nifti",
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Write new volumes as NIfTI or DICOM, with the geometry and the intensities of the data.

    Volume k of a seed is the same however many are made, and whatever the batch.

    Example: voxflate generate runs/3d -n 100 --seed 0 --truncation 0.7 --out new-scans
    """
    from voxflate.generation import check_generation
    from voxflate.generation import generate as generate_volumes

    if dry_run:
        settings, _ = check_generation(run, out, data, device, file_format)
        print_settings(
            {
                "run": str(run),
                "out": str(out),
                "n": n,
                "seed": seed,
                "truncation": truncation,
                "batch": batch,
                "format": file_format,
                "snapshot": snapshot,
                "data": settings.data,
                "device": settings.training.device,
            }
        )
        return
    with progress_bar("generating") as progress:
        files = generate_volumes(
            run,
            n,
            seed=seed,
            truncation=truncation,
            out=out,
            batch=batch,
            snapshot=snapshot,
            data=data,
            device=device,
            file_format=file_format,
            progress=progress,
        )
    typer.echo(f"{out}: {len(files)} volumes, {files[0].name} to {files[-1].name}")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train or pretrain.")],
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    device: Device = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON file to write. (default: RUN/evaluation.json)", show_default=False
        ),
    ] = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Measure how far generated volumes are from real ones, beside what real ones reach.

    Frechet and kernel distances, precision and recall on the centre slices of three planes, and diversity.
    The number of volumes is the setting evaluation.samples.

    Example: voxflate evaluate runs/3d --set evaluation.samples=500
    """
    from voxflate.generation import generator_on_device, sampling_settings

    settings = sampling_settings(run, data, device, parse_assignments(assignments or []))
    if dry_run:
        print_settings(settings)
        return
    from voxflate.build import is_planar_twin
    from voxflate.data.prepared import open_prepared
    from voxflate.evaluation import Evaluator
    from voxflate.gans.sampling import sample

    generator, n_images = generator_on_device(run, settings)
    wanted = settings.evaluation.samples
    evaluator = Evaluator(
        open_prepared(settings.data),
        settings.evaluation.extractor,
        seed,
        min_content=settings.training.min_content,
    )
    batches = sample(
        generator,
        wanted,
        seed=seed,
        truncation_psi=truncation,
        batch=batch,
        slices=is_planar_twin(settings),
    )
    with progress_bar("generating") as progress:
        shown = _counted((volumes.numpy() for volumes in batches), wanted, progress)
        if settings.training.phase == "2d":
            figures, floor = evaluator.measure_2d(shown), evaluator.real_floor_2d()
        else:
            figures, floor = evaluator.measure(shown), evaluator.real_floor()
    path = out or run / "evaluation.json"
    write_json(path, {"n_images": n_images, "truncation": truncation, "generated": figures, "real": floor})
    _print_figures(figures, floor)
    typer.echo(f"written to {path}")


def _counted(
    batches: Iterable[FloatArray], total: int, progress: Callable[[int, int], None]
) -> Iterator[FloatArray]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        progress(done, total)


def _print_figures(figures: Mapping[str, object], floor: Mapping[str, object]) -> None:
    table = Table("figure")
    table.add_column("generated", justify="right")
    table.add_column("real halves", justify="right")
    for name, value in figures.items():
        other = floor.get(name)
        if isinstance(value, float):
            table.add_row(name, f"{value:.4g}", f"{other:.4g}" if isinstance(other, float) else "-")
    Console().print(table)
    typer.echo(
        f"{figures['n-generated']} generated against {figures['n-real']} real; real halves: "
        f"{floor['n-generated']} against {floor['n-real']}"
    )
