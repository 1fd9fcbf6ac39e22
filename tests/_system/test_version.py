"""Which code made a result."""

import shutil
from pathlib import Path

from voxflate._system import version


def test_the_source_hash_changes_with_any_source_file_and_with_nothing_else(tmp_path, monkeypatch):
    root = tmp_path / "voxflate"
    shutil.copytree(Path(version.__file__).parents[1] / "_system", root / "_system")
    monkeypatch.setattr(version, "__file__", str(root / "_system" / "version.py"))

    def of() -> str:
        version.source_hash.cache_clear()
        return version.source_hash()

    before = of()
    assert len(before) == 12
    (root / "notes.txt").write_text("no source")
    (root / "_system" / "__pycache__").mkdir(exist_ok=True)
    (root / "_system" / "__pycache__" / "files.pyc").write_bytes(b"compiled")
    assert of() == before
    with open(root / "_system" / "files.py", "a") as file:
        file.write("\n")
    changed = of()
    assert changed != before
    (root / "_system" / "files.py").rename(root / "_system" / "other.py")
    assert of() not in (before, changed)
    version.source_hash.cache_clear()
