"""The forms that a generator can be exported to, by name.

To add one: write a function (about, out) and add a line to `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder
from voxflate.runs.chosen import Snapshot
from voxflate.sharing.about import About, Words, about
from voxflate.sharing.hub import write_hub
from voxflate.sharing.monai import write_monai
from voxflate.sharing.onnx_folder import write_onnx
from voxflate.sharing.page import check_new_page, write_page


@dataclass(frozen=True)
class Target:
    """One form of a generator.

    Attributes:
        write: Writes it to a path.
        hint: What to do with it next; "{out}" is the path.
        check: Refuses a path that it cannot be written to.
    """

    write: Callable[[About, Path], None]
    hint: str
    check: Callable[[Path], None] = check_new_folder


TARGETS: dict[str, Target] = {
    "html": Target(write_page, "next: open it in a browser", check_new_page),
    "onnx": Target(write_onnx, "its README.md shows how to run it"),
    "hub": Target(write_hub, "voxflate.load takes it; read its README.md before you publish it"),
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
    """Write a generator in one of the forms of `TARGETS`.

    Args:
        run: Folder of a 3D run or of an export.
        target: A name in `TARGETS`.
        out: File or folder to write.
        words: What the generator's owner says about it.
        snapshot: "newest", "best", or a number of kimg.
        data: Where a run's prepared set lies now; None where the run says.
        evaluation: Folder of its evaluation and audit; None for the run's own.

    Returns:
        The generator and what is known about it.

    Raises:
        VoxflateError: If there is no such target, `out` is taken, or the generator cannot be opened.
    """
    if target not in TARGETS:
        raise VoxflateError(f"--to {target}: choose one of folder, {', '.join(TARGETS)}")
    chosen = TARGETS[target]
    chosen.check(out)
    found = about(run, words, snapshot, data, evaluation)
    chosen.write(found, out)
    return found
