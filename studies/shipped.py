"""Makes the generators included in the package from runs.

Usage: python -m studies.shipped NAME=RUN ... [--snapshot best] [--evaluation FOLDER] [--out FOLDER]

Each name of `SHIPPED` with a run gets a new folder in `src/voxflate/generators`: the export, its
model card, a picture of its first samples, and the licence required by its data (decision
0160). Metrics of an evaluation or an audit are taken from the run, or from --evaluation, if they belong to
this snapshot.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.runs.shipped import ROOT
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share

LARGEST = 5_000_000
"""Largest size of all folders together, bytes."""

IXI_LICENCE = """\
This folder (the network's weights, the picture of its samples, and the texts) is licensed under
Creative Commons Attribution-ShareAlike 3.0 Unported (CC BY-SA 3.0):
https://creativecommons.org/licenses/by-sa/3.0/legalcode

The network was trained on brain scans of the IXI data set (https://brain-development.org/ixi-dataset/),
as carried at 2 mm by https://github.com/gurayerus/NiChart_Project, licensed under CC BY-SA 3.0. Changes: the
brains were cut out, scaled and resampled, and a generative network was trained on them. The licence of
the data allows adaptations to be shared under the same licence, with this attribution. It does not apply to
the rest of voxflate.
"""

MSD_LICENCE = """\
This folder (the network's weights, the picture of its samples, and the texts) is licensed under
Creative Commons Attribution-ShareAlike 4.0 International (CC BY-SA 4.0):
https://creativecommons.org/licenses/by-sa/4.0/legalcode

The network was trained on Task04 (hippocampus) of the Medical Segmentation Decathlon (Simpson et al. 2019,
http://medicaldecathlon.com), licensed under CC BY-SA 4.0. Changes: the scans and their masks were scaled and
resampled, and a generative network was trained on them. The licence of the data allows adaptations to be
shared under the same licence, with this attribution. It does not apply to the rest of voxflate.
"""


@dataclass(frozen=True)
class Shipped:
    """The description of a generator.

    Attributes:
        words: Its title, its data and the licence of the data.
        licence: Text of the folder's licence.
        provenance: How it was trained, and how reliable it is, in Markdown.
    """

    words: Words
    licence: str
    provenance: str


SHIPPED = {
    "brains-16": Shipped(
        Words(
            "Brains, 16x32x32",
            "IXI, skull-stripped T1 brain MRI of 148 adults, https://brain-development.org/ixi-dataset/",
            "CC-BY-SA-3.0",
        ),
        IXI_LICENCE,
        "The first of the three generators with a learning rate of 0.002 in the section *Real brains at "
        "16x32x32* of docs/results.md: seed 0, 25 kimg (25,000 scans shown in 3D), from a plain 2D network "
        "of 30 kimg, with the settings recommended before decision 0202; nothing was chosen. The section has "
        "the commands, to which `--set training.lr_g=0.002 --set training.lr_d=0.002` must be added in 3D, "
        "its distances to real scans, and what is still wrong with its volumes.",
    ),
    "brains-64": Shipped(
        Words(
            "Brains, 64x64x64",
            "IXI, skull-stripped T1 brain MRI of 148 adults, https://brain-development.org/ixi-dataset/",
            "CC-BY-SA-3.0",
        ),
        IXI_LICENCE,
        "The only run of its kind, so nothing was chosen: seed 0, 21.3 kimg (21,332 scans shown in 3D), from "
        "a plain 2D network of 100 kimg, with the recommended settings. The section *Real brains at "
        "32x64x64 and 64x64x64* of docs/results.md has the commands, its distances to real scans, and what "
        "is still wrong with its volumes. It had not stopped improving.",
    ),
    "brains-ages-16": Shipped(
        Words(
            "Brains of a given age and sex, 16x32x32",
            "IXI, skull-stripped T1 brain MRI of 145 adults whose age and sex are known, "
            "https://brain-development.org/ixi-dataset/",
            "CC-BY-SA-3.0",
        ),
        IXI_LICENCE,
        "One generator, nothing was chosen: seed 0, 25 kimg (25,000 scans shown in 3D), from a plain 2D "
        "network of 30 kimg, with the recommended settings. The section *Brains of a given age* of "
        "docs/results.md has the commands, and says how well the volumes match the age that is asked for.",
    ),
    "hippocampus-16": Shipped(
        Words(
            "Hippocampi with their masks, 16x24x16",
            "MSD Task04, T1 MRI crops of 260 hippocampi with masks of two classes, http://medicaldecathlon.com",
            "CC-BY-SA-4.0",
        ),
        MSD_LICENCE,
        "The first of three generators of the section *Scan and mask together* of docs/results.md, which has "
        "the commands and shows what a segmenter learns from its pairs; nothing was chosen. Seed 0, 25 kimg "
        "(25,000 pairs shown in 3D), from a plain 2D network of 30 kimg, with the recommended settings. All "
        "training volumes show the same side.",
    ),
}
"""Name -> description; to add a generator, add an entry here and give its run."""


def make(name: str, run: Path, snapshot: str, out: Path, evaluation: Path | None = None) -> Path:
    """Write one generator's folder, replacing an older one.

    Raises:
        VoxflateError: If there is no such name, or the run cannot be exported.
    """
    if name not in SHIPPED:
        raise VoxflateError(f"{name}: is not in SHIPPED of {__file__}, which has {', '.join(SHIPPED)}")
    said, folder = SHIPPED[name], out / name
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary, name)
        share(run, "hub", made, said.words, snapshot, evaluation=evaluation)
        card = made / "README.md"
        card.write_text(
            f"{card.read_text(encoding='utf-8')}\n## Provenance\n\n{said.provenance}\n", encoding="utf-8"
        )
        (made / "LICENSE.txt").write_text(said.licence, encoding="utf-8")
        size = sum(path.stat().st_size for path in (*made.iterdir(), *_others(out, name)))
        if size > LARGEST:
            raise VoxflateError(
                f"{name}: all generators together would take {size:,} bytes, at most {LARGEST:,}"
            )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
    return folder


def _others(out: Path, name: str) -> list[Path]:
    """Files of the other generators."""
    return [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0] != name]


def main(arguments: list[str]) -> int:
    """Make the generators given on the command line."""
    parser = argparse.ArgumentParser(description="Make the generators included in the package.")
    parser.add_argument("runs", metavar="NAME=RUN", nargs="+")
    parser.add_argument("--snapshot", default="newest", help="newest, best, or a number of kimg")
    parser.add_argument("--evaluation", type=Path, help="folder of its evaluation and audit")
    parser.add_argument("--out", type=Path, default=ROOT)
    given = parser.parse_args(arguments)
    try:
        for text in given.runs:
            name, _, run = text.partition("=")
            print(make(name, Path(run), given.snapshot, given.out, given.evaluation))
    except VoxflateError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
