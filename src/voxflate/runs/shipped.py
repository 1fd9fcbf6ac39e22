"""Trained generators that come with the package; every command takes their names in place of a run.

They lie in `voxflate/generators`, each an export with a model card and a licence (decision 0160).
`studies/shipped.py` makes these folders from runs.
"""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.runs.exported import is_exported

ROOT = Path(__file__).parents[1] / "generators"


def shipped() -> dict[str, Path]:
    """Their folders by name."""
    return {folder.name: folder for folder in sorted(ROOT.iterdir()) if is_exported(folder)}


def located(folder: Path) -> Path:
    """Where a run or an export lies: the folder itself, or that of the generator of this name.

    A folder of the user's own goes first.

    Raises:
        VoxflateError: If there is neither; names the generators that there are.
    """
    if folder.exists():
        return folder
    known = shipped()
    if str(folder) in known:
        return known[str(folder)]
    raise VoxflateError(
        f"{folder}: no such file or run folder, and no generator of this name comes with voxflate; these do: "
        f"{', '.join(known)}"
    )
