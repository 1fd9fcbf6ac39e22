"""A generator as a folder of ONNX files.

FOLDER/
    mapping.onnx     from a latent code (and labels) to a style code; comparison models have none
    synthesis.onnx   from style codes and noise to a volume of all channels
    generator.json   the content of `description.describe`
    README.md        a description, and how to run it
"""

from __future__ import annotations

from pathlib import Path

from voxflate._system.files import whole_folder, write_json
from voxflate.sharing.about import TRUNCATION, About
from voxflate.sharing.description import describe
from voxflate.sharing.onnx_networks import graphs_of
from voxflate.sharing.texts import text_of


def write_onnx(about: About, out: Path) -> None:
    """Write the folder.

    Raises:
        VoxflateError: If the generator has no ONNX graph.
    """
    graphs, sizes = graphs_of(about.loaded.network), describe(about)
    with whole_folder(out) as folder:
        for name, content in graphs.items():
            (folder / f"{name}.onnx").write_bytes(content)
        write_json(folder / "generator.json", sizes)
        text = text_of(
            "onnx.jinja",
            about=about,
            truncation=TRUNCATION,
            sizes=sizes,
            mapping="mapping" in graphs,
            names=[channel["name"] for channel in sizes["channels"]],
            masks=about.source.prepared.layout.masks,
            labels=about.example_labels,
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
