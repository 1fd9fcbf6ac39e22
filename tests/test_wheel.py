"""What a wheel holds. `make dist` builds, installs and runs one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from benchmarks.wheel import NEEDED, missing
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    source = ROOT / "src"
    package = {
        str(path.relative_to(source))
        for path in (source / "voxflate").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == package
    assert missing(sorted(files)) == []


def test_a_file_that_is_left_out_is_found() -> None:
    assert missing(NEEDED[1:]) == [NEEDED[0]]


def test_the_metadata_name_no_address_that_is_not_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "urls" not in project  # decision 0155; when there is an address, this test becomes one of it
    assert {"docs", "dist", "notebooks"} <= set(project["optional-dependencies"])
