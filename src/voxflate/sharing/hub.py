"""A generator as a folder for the Hugging Face hub: an export with a model card and a picture.

FOLDER/
    generator.safetensors ...   the files of `folder.py`: `voxflate.load` opens the folder
    README.md                   the model card
    samples.png                 centre slices of the first samples
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.extras import import_optional
from voxflate._system.files import whole_folder
from voxflate.drawing.sheets import sample_sheet
from voxflate.sampling.volumes import shape_of_one
from voxflate.sharing.about import TRUNCATION, About
from voxflate.sharing.folder import write_export
from voxflate.sharing.texts import hub_licence, text_of

PICTURE = "samples.png"
_SHOWN = 8


def write_hub(about: About, out: Path) -> None:
    """Write the folder."""
    with whole_folder(out) as folder:
        write_hub_files(about, folder, out.resolve().name)


def write_hub_files(about: About, folder: Path, name: str) -> None:
    """Write the files into an existing folder.

    Args:
        about: The generator.
        folder: Output folder.
        name: Final name of the folder, for the card's example.
    """
    prepared = about.source.prepared
    write_export(about, folder)
    images, classes = about.samples(_SHOWN, TRUNCATION)
    sample_sheet(images, folder / PICTURE, columns=_SHOWN, spacing=prepared.spacing, classes=classes)
    layout = prepared.layout
    card = text_of(
        "card.jinja",
        about=about,
        licence=hub_licence(about.words.licence),
        folder=name,
        picture=PICTURE,
        truncation=TRUNCATION,
        shape=shape_of_one(prepared),
        masks=layout.masks,
        labels=about.example_labels,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the hub; a new repository is private.

    Args:
        folder: Folder written by `write_hub`.
        repository: "name/of-repository".

    Returns:
        The repository's URL.

    Raises:
        VoxflateError: If `huggingface_hub` is not installed, or the hub refuses.
    """
    hub = check_push()
    api = hub.HfApi()
    try:
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(folder_path=str(folder), repo_id=repository)
    except Exception as error:  # the client raises errors from several libraries
        reason = str(error).strip().splitlines()
        raise VoxflateError(
            f"{repository}: the hub refused it ({reason[0] if reason else type(error).__name__}); the folder "
            f"{folder} is complete: hf auth login, then hf upload "
            f"{shlex.join([repository, str(folder)])} . --private"
        ) from error
    return str(address)


def check_push() -> Any:
    """The hub's client.

    Raises:
        VoxflateError: If it is not installed.
    """
    return import_optional("huggingface_hub", "hub", "--push needs huggingface_hub")
