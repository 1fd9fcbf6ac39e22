"""Trained generators included in the package; commands accept their names where they accept an export.

They are in `voxflate/generators`, each an export with a model card and a licence (decision 0160).
`studies/shipped.py` makes these folders from runs.
"""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.config.toml import CONFIG_NAME
from voxflate.runs.exported import CONFIG, WEIGHTS, is_exported

ROOT = Path(__file__).parents[1] / "generators"


def shipped() -> dict[str, Path]:
    """The folders of the generators by name."""
    return {folder.name: folder for folder in sorted(ROOT.iterdir()) if is_exported(folder)}


def locate(folder: Path) -> Path:
    """The folder of a run or an export: the given folder, or that of the included generator with this name.

    A folder of the user takes precedence.

    Raises:
        VoxflateError: If neither exists; lists the included generators. If one file of an export is missing.
    """
    if folder.exists():
        missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
        if len(missing) == 1 and not (folder / CONFIG_NAME).is_file():
            raise VoxflateError(f"{folder}: is an export without its {missing[0]}; copy all of its files")
        return folder
    known = shipped()
    if str(folder) in known:
        return known[str(folder)]
    raise VoxflateError(
        f"{folder}: no such file or run folder, and no included generator has this name; included are: "
        f"{', '.join(known)}"
    )
