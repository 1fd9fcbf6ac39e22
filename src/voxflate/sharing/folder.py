"""A generator as an export, which most commands accept in place of a run (docs/sharing.md lists them).

FOLDER/
    generator.safetensors  config.json   see `runs.exported`
    metrics.json  audit.json             if it was evaluated and audited
"""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_folder, write_json
from voxflate.reports.evaluations import AUDIT, METRICS
from voxflate.runs.export import write_generator
from voxflate.sharing.about import About


def write_folder(about: About, out: Path) -> None:
    """Write the folder.

    Raises:
        VoxflateError: If the generator is an export already.
    """
    if about.source.exported is not None:
        raise VoxflateError(f"{about.source.folder}: is already an export; copy the folder to share it")
    with whole_folder(out) as folder:
        write_export(about, folder)


def write_export(about: About, folder: Path) -> None:
    """Write the files into an existing folder: the weights, and everything known about them."""
    manifest, words = about.source.prepared.manifest, {k: v for k, v in vars(about.words).items() if v}
    write_generator(
        folder,
        about.loaded,
        manifest,
        about.counts,
        about.source.labels,
        words,
        about.twin,
        about.started_from,
    )
    if about.assessment is not None:
        write_json(folder / METRICS, about.assessment.as_dict())
    if about.audit is not None:
        write_json(folder / AUDIT, about.audit)
