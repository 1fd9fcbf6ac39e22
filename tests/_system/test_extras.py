from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from voxflate._system.errors import VoxflateError
from voxflate._system.extras import import_optional

ROOT = Path(__file__).parents[2]


def test_an_installed_package_is_imported() -> None:
    assert import_optional("json", "text", "text needs json").loads("[1]") == [1]


def test_a_missing_package_is_refused_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "absent", None)  # type: ignore[arg-type]
    with pytest.raises(VoxflateError) as refused:
        import_optional("absent", "more", "drawing needs absent", "or do not draw")
    assert str(refused.value) == (
        "drawing needs absent; install it with: pip install 'voxflate[more]', or do not draw"
    )


def test_the_cause_of_a_damaged_installation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "damaged.py").write_text("import no_such_part_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        VoxflateError,
        match=r"needs damaged, which cannot be imported \(No module named 'no_such_part_of_it'\); install",
    ):
        import_optional("damaged", "more", "drawing needs damaged")


def test_the_extras_that_messages_name_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = [path for room in ("src", "studies") for path in (ROOT / room).rglob("*.py")]
    calls = re.compile(r'(?:import_optional\(\s*"[\w.]+",|missing_extra\()\s*"([\w-]+)"')
    named = [extra for path in sources for extra in calls.findall(path.read_text(encoding="utf-8"))]
    assert len(named) >= 7
    assert set(named) <= project["optional-dependencies"].keys()
