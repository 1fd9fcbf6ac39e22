"""The public API: what `import voxflate` gives; the README's own lines on a real run and a real export."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import voxflate
from tests.exports import export_generator
from tests.strategies import run_config, write_prepared
from voxflate.sampling.generate import generate
from voxflate.training.run import train_run

ROOT = Path(__file__).parents[1]


def readme_block() -> str:
    """The README's code block that imports the package."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    (block,) = [block for block in blocks if "import voxflate" in block]
    return str(block)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the README has it: data, runs/3d, and brains-generator, its best snapshot."""
    folder = tmp_path_factory.mktemp("home")
    data = write_prepared(folder / "data" / "brains")
    every = {"training__snapshot_kimg": 0.004, "training__keep": 9, "evaluation__every": 1}
    config = run_config(data, training__kimg=0.012, **every)
    train_run(config, folder / "runs" / "3d")
    export_generator(folder / "runs" / "3d", folder / "brains-generator", "best")
    return folder


@pytest.mark.parametrize("source", ["run", "export"])
def test_the_readmes_lines(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    for name in ("runs", "brains-generator", "data"):
        (tmp_path / name).symlink_to(home / name)
    monkeypatch.chdir(tmp_path)
    code = readme_block()
    if source == "export":  # what the comment beside the line says
        run, export = 'voxflate.load("runs/3d", snapshot="best")', 'voxflate.load("brains-generator")'
        assert run in code
        assert export in code
        code = code.replace(run, export)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    scans = names["scans"]
    assert isinstance(scans, np.ndarray)
    assert scans.shape == (4, 4, 8, 8)
    assert -1 <= scans.min() < scans.max() <= 1
    np.testing.assert_allclose(scans.intensities(), 200 + 100 * np.asarray(scans), rtol=1e-5)
    written = sorted((tmp_path / "new-scans").iterdir())
    assert [path.name for path in written] == [f"brain-000{i}.nii.gz" for i in range(4)]
    for path, scan in zip(written, scans, strict=True):
        np.testing.assert_allclose(nib.load(path).affine, scans.affine)
        np.testing.assert_allclose(nib.load(path).get_fdata().T, scan.intensities(), rtol=1e-6)


@pytest.mark.parametrize("folder", ["runs/3d", "brains-generator"])
def test_a_seed_gives_what_generate_gives(home: Path, tmp_path: Path, folder: str) -> None:
    written = generate(home / folder, 3, seed=5, truncation=0.7, out=tmp_path / "new")
    generator = voxflate.load(home / folder)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    scans = generator.sample(3, seed=5, truncation=0.7)
    assert torch.equal(torch.get_rng_state(), before)
    for path, scan in zip(written, scans, strict=True):
        np.testing.assert_array_equal(nib.load(path).get_fdata().astype(np.float32).T, scan.intensities())
    alone = generator.sample(1, seed=5, truncation=0.7, first=2, batch=1)
    np.testing.assert_allclose(alone[0], scans[2], atol=1e-5)


def test_a_run_and_its_export_are_one_generator(home: Path) -> None:
    run, export = (
        voxflate.load(str(home / "runs/3d"), snapshot="best"),
        voxflate.load(home / "brains-generator"),
    )
    assert run.weights_sha256 == export.weights_sha256
    assert run.n_images == export.n_images
    assert voxflate.load(home / "runs/3d", snapshot=0.004).kimg == 0.004
    np.testing.assert_array_equal(run.sample(2), export.sample(2))
    assert repr(export).startswith(
        f"<TrainedGenerator {home / 'brains-generator'}: 4x8x8 voxels, the generator"
    )
    assert (export.shape, export.spacing) == ((4, 8, 8), (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(export.affine, export.sample(1).affine)
    assert isinstance(export.network, torch.nn.Module)
    assert export.settings.network == run.settings.network


def test_mistakes_are_one_line(home: Path, tmp_path: Path) -> None:
    def refused(match: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(voxflate.VoxflateError, match=match) as caught:
            voxflate.load(*arguments, **options)
        assert "\n" not in str(caught.value)

    run = home / "runs" / "3d"
    refused("no such file or run folder", tmp_path / "nothing")
    refused("has no config.toml", tmp_path)
    refused(r"has no snapshot 7; give newest, one of its kimg \(0, 0\.004, 0\.008, 0\.012\)", run, snapshot=7)
    refused("has no snapshot worst", run, snapshot="worst")
    refused("has no snapshot nan", run, snapshot=float("nan"))
    refused("is an export with one generator, after .* kimg, chosen as best", home / "brains-generator",
            snapshot=99)  # fmt: skip
    refused("no such folder", run, data=tmp_path / "nothing")
    refused("training.device = 'gpu'", run, device="gpu")
    other = write_prepared(tmp_path / "other", shape=(8, 8, 8)).root
    refused(r"has volumes of \(8, 8, 8\), .* makes \(4, 8, 8\)", run, data=other)
    train_run(
        run_config(home / "data" / "brains", training__phase="2d", training__kimg=0.004), tmp_path / "2d"
    )
    refused("is a 2D run", tmp_path / "2d")


@pytest.mark.parametrize(
    "arguments", [{"n": 0}, {"batch": 0}, {"seed": -1}, {"truncation": 1.5}, {"first": -1}], ids=str
)
def test_numbers_out_of_range_are_refused(home: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(voxflate.VoxflateError, match="must be"):
        voxflate.load(home / "brains-generator").sample(**arguments)


def test_a_damaged_newest_snapshot_is_not_passed_over_in_silence(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "runs" / "3d", run)
    newest = sorted((run / "snapshots").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(
        UserWarning, match=rf"skipped {re.escape(str(newest))}.*loaded the generator after 0\.008"
    ):
        generator = voxflate.load(run)
    assert generator.n_images == 8


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, voxflate; voxflate.load, voxflate.__version__, dir(voxflate); "
        "print(*({'torch', 'numpy', 'pydantic', 'nibabel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_loading_and_sampling_leave_the_allocator_of_the_caller_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxflate._system import allocator

    def asked(*_: object) -> None:
        raise AssertionError("the allocator was changed")

    monkeypatch.setattr(allocator.platform, "libc_ver", asked)
    with pytest.raises(AssertionError):
        allocator.keep_freed_memory()
    voxflate.load(home / "brains-generator").sample(1)


def test_every_public_name_is_there_and_documented() -> None:
    assert dir(voxflate) == sorted(voxflate.__all__)
    for name in set(voxflate.__all__) - {"__version__"}:
        assert len(getattr(voxflate, name).__doc__) > 100, name
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        voxflate.unknown  # noqa: B018


def test_a_strictly_typed_user_sees_the_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "import voxflate\n\n"
        "brains: voxflate.TrainedGenerator = voxflate.load('runs/3d', snapshot='best')\n"
        "scans: voxflate.Volumes = brains.sample(4, seed=0, truncation=0.7)\n"
        "array: np.ndarray = scans\n"
        "reveal_type(scans.affine)\n"
        "voxflate.load(3)\n"
    )
    pytest.importorskip("mypy")
    # The settings and the cache of `make test`, which has just filled it: PyTorch alone takes a minute.
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(program)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout
    problems = [line for line in shown.splitlines() if "error" in line]
    assert "float64" in shown
    assert any('"load" has incompatible type "int"' in line for line in problems)
    assert len([line for line in problems if "program.py" in line and "type-arg" not in line]) == 1, shown
