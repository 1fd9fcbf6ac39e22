"""The export formats of a generator, by name.

To add one: write a function (about, out) and add a line to `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder
from voxflate.data.outside import check_outside_sets
from voxflate.runs.chosen import Snapshot
from voxflate.sharing.about import About, Words, about
from voxflate.sharing.folder import write_folder
from voxflate.sharing.hub import write_hub
from voxflate.sharing.monai import write_monai
from voxflate.sharing.onnx_folder import write_onnx
from voxflate.sharing.page import check_new_page, write_page


@dataclass(frozen=True)
class Target:
    """One export format.

    Attributes:
        write: Writes it to a path.
        hint: The next step for the user; "{out}" is the path.
        check: Refuses a path to which it cannot be written.
    """

    write: Callable[[About, Path], None]
    hint: str
    check: Callable[[Path], None] = check_new_folder


TARGETS: dict[str, Target] = {
    "folder": Target(write_folder, "next: voxflate generate {out} -n 20 --out new-scans"),
    "html": Target(write_page, "next: open it in a browser", check_new_page),
    "onnx": Target(write_onnx, "its README.md shows how to run it"),
    "hub": Target(write_hub, "voxflate.load opens it; read its README.md before you publish it"),
    "monai": Target(
        write_monai, "next: cd {out} && python -m monai.bundle run --config_file configs/inference.json"
    ),
}


def share(
    run: Path,
    target: str,
    out: Path,
    words: Words,
    snapshot: Snapshot = "newest",
    data: Path | None = None,
    evaluation: Path | None = None,
) -> About:
    """Write a generator in one of the formats of `TARGETS`.

    Args:
        run: Folder of a 3D run or of an export.
        target: A name in `TARGETS`.
        out: File or folder to write.
        words: The owner's description.
        snapshot: "newest", "best", or a number of kimg.
        data: Folder of the run's prepared set; None to use the one named in the run.
        evaluation: Folder of its evaluation and audit; None for the newest in the run.

    Returns:
        The generator and its description.

    Raises:
        VoxflateError: If there is no such target, `out` exists or lies in a prepared set, or the generator
            cannot be opened.
    """
    if target not in TARGETS:
        raise VoxflateError(f"--to {target}: choose one of {', '.join(TARGETS)}")
    chosen = TARGETS[target]
    chosen.check(out)
    check_outside_sets(out)
    found = about(run, words, snapshot, data, evaluation)
    chosen.write(found, out)
    return found
