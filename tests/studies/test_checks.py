"""A study begins only with data that its runs can use, in a folder of its own scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.__main__ import parsed, run_study
from studies.plan import Study
from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError


def test_a_folder_of_another_scale_is_refused(tmp_path: Path) -> None:
    """Their rows would come into the same tables."""
    out = tmp_path / "study"
    out.mkdir()
    Study(out, "bench", {"coca64": str(tmp_path)}).save()
    words = ["--scale", "starts", "--data", str(tmp_path), "--out", str(out), "--dry-run"]
    with pytest.raises(VoxflateError, match=r"has a study of scale bench.* scale starts another --out"):
        run_study(parsed(words))


def test_missing_data_is_named_before_the_plan(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "study"), "--dry-run"]
    with pytest.raises(VoxflateError, match="none: no such folder"):
        run_study(parsed(words))


def test_a_prepared_set_of_another_shape_is_refused(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "set", (16, 32, 32)).root
    words = ["--data", str(data), "--out", str(tmp_path / "study"), "--dry-run"]
    with pytest.raises(VoxflateError, match=r"16x32x32, but the rows coca128-\.\.\. need 16x64x64"):
        run_study(parsed([*words, "--tables", "1,5"]))
    assert run_study(parsed([*words, "--tables", "1"])) == 0
