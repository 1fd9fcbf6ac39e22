"""A generator as one HTML file that runs in a browser, from disk and offline.

Its template, its style and the scripts built from `web/` (decision 0132) are in `sharing/web`. This module
combines them with the generator's ONNX graphs and description.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import lzma
import shlex
import tempfile
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_writable, whole_file
from voxflate._system.version import __version__
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32
from voxflate.data.writers.nifti import write_mask_nifti, write_nifti
from voxflate.data.writers.synthetic import PLAIN
from voxflate.runs.shipped import shipped
from voxflate.sharing.about import TRUNCATION, About
from voxflate.sharing.description import describe
from voxflate.sharing.onnx_networks import graphs_of
from voxflate.sharing.texts import CITATION, INSTALLATION

_HEADER = 352
"""Number of bytes before the voxels of a NIfTI file."""


def write_page(about: About, out: Path) -> None:
    """Write the page of a generator.

    Args:
        about: The generator.
        out: File to write, ending in .html; must not exist.

    Raises:
        VoxflateError: If the file already exists or has another suffix, or the generator has no ONNX graph.
    """
    check_new_page(out)
    script, style, described = _bundle("app.js").decode("utf-8"), _text("page.css"), describe(about)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.from_string(_text("page.html")).render(
        about=about,
        version=__version__,
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        licences=_text("licences.txt"),
        citation=CITATION,
        installation=INSTALLATION,
        folder=_folder(about, out),
        where=_where(about, _folder(about, out)),
        description=_json({**described, **_of_page(about), "folder": _folder(about, out)}),
        unseen=any(label.get("unseen") for label in described["labels"]),
        blocks=_blocks(about),
    )
    with whole_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def check_new_page(out: Path) -> None:
    """Refuse a path to which no page can be written.

    Raises:
        VoxflateError: Names it.
    """
    if out.suffix != ".html":
        raise VoxflateError(f"{out}: the page is one file; give it as --out NAME.html")
    if out.exists():
        raise VoxflateError(f"{out}: already exists; choose another name, or delete it first")
    check_writable(out)


def _of_page(about: About) -> dict[str, Any]:
    """Data that only the page's script reads."""
    prepared = about.source.prepared
    headers = {"nifti_header": _header(partial(write_nifti, volume=_nothing(prepared)[0], prepared=prepared))}
    if prepared.layout.masks:
        mask = _nothing(prepared)
        mask[-1] = 1  # the last class everywhere
        headers["mask_header"] = _header(partial(write_mask_nifti, volume=mask, prepared=prepared))
    return {"truncation": TRUNCATION, **headers}


def _folder(about: About, out: Path) -> str:
    """The name of the export in the page's Python: readers do not have the run (decision 0218)."""
    return out.stem if about.source.exported is None else about.source.folder.resolve().name


def _where(about: About, folder: str) -> str:
    """Where a reader gets that export from."""
    if about.source.folder in shipped().values():
        return "comes with it."
    if about.source.exported is not None:
        return "is the folder of this generator: ask its owner for it."
    command = f"voxflate export RUN --snapshot {about.loaded.kimg:g} --out {shlex.quote(folder)}"
    return f"is a folder with this generator, which its owner can make for you: {command}."


def _nothing(prepared: PreparedSet) -> Float32:
    """A volume of all channels, [C, D, H, W], at the lower end."""
    return np.full((len(prepared.layout.channels), *prepared.shape), -1, np.float32)


def _header(write: Callable[..., None]) -> str:
    """The header of a file written by Python, base64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "volume.nii")
        write(path, look=PLAIN)
        return base64.b64encode(path.read_bytes()[:_HEADER]).decode("ascii")


def _blocks(about: About) -> dict[str, str]:
    """Data that the page unpacks, by element id: gzipped, base64."""
    parts = {"worker": "worker.js", "niivue": "niivue.js", "runtime": "runtime.wasm"}
    graphs = graphs_of(about.loaded.network)
    return {
        **{id_: _packed_bundle(name) for id_, name in parts.items()},
        **{id_: _packed(content) for id_, content in graphs.items()},
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


@cache
def _packed_bundle(name: str) -> str:
    """Cached for the next page: packing the runtime takes most of the time."""
    return _packed(_bundle(name))


def _policy(script: str, style: str) -> str:
    """The page's content security policy: its script, its style, the data they unpack, no requests."""

    def sha256(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; script-src {sha256(script)} 'wasm-unsafe-eval' blob:; worker-src blob:; "
        f"style-src {sha256(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _json(content: Any) -> Markup:
    """JSON that cannot end its HTML element."""
    return Markup(json.dumps(content, allow_nan=False).replace("<", "\\u003c"))


def _part(name: str) -> bytes:
    return files("voxflate.sharing").joinpath("web", name).read_bytes()


def _bundle(name: str) -> bytes:
    """A file built by `web/build.mjs`."""
    return lzma.decompress(_part(f"{name}.xz"))


def _text(name: str) -> str:
    return _part(name).decode("utf-8")
