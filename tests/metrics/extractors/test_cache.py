import numpy as np
import pytest

from voxflate.metrics.extractors.cache import ArrayCache, cache_folder

AT_COLLECTION = cache_folder()


class Counted:
    """Computes one array and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": np.arange(3, dtype=np.float32)}


def test_arrays_are_computed_once_and_then_come_from_the_disk(tmp_path):
    compute = Counted()
    cache = ArrayCache(tmp_path / "deep" / "cache")
    for reader in (cache, cache, ArrayCache(tmp_path / "deep" / "cache")):
        np.testing.assert_array_equal(reader.get(("hash", 1), ["x"], compute)["x"], [0, 1, 2])
    assert compute.calls == 1
    ArrayCache(tmp_path / "deep" / "cache").get(("hash", 2), ["x"], compute)
    assert compute.calls == 2


@pytest.mark.parametrize("damage", [b"", b"not an archive", "half"])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    compute = Counted()
    ArrayCache(tmp_path / "own").get(("hash",), ["x"], compute)
    (file,) = (tmp_path / "own").iterdir()
    file.write_bytes(file.read_bytes()[:100] if damage == "half" else damage)
    ArrayCache(tmp_path / "own").get(("hash",), ["x"], compute)
    ArrayCache(tmp_path / "own").get(("hash",), ["x"], compute)
    assert compute.calls == 2


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert "x" in ArrayCache(blocked).get(("hash",), ["x"], Counted())


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VOXFLATE_CACHE")
    (tmp_path / "voxflate").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "voxflate"


def test_what_runs_before_a_test_keeps_away_from_the_users_cache_too(monkeypatch):
    monkeypatch.delenv("VOXFLATE_CACHE")
    assert cache_folder() != AT_COLLECTION


def test_the_folder_of_earlier_versions_is_used_where_it_exists(monkeypatch, tmp_path):
    for variable in ("VOXFLATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    library = tmp_path / "Library" / "Caches" / "voxflate"
    monkeypatch.setattr("voxflate._system.files.user_cache_path", lambda name: library)
    assert cache_folder() == library
    (tmp_path / ".cache" / "voxflate").mkdir(parents=True)
    assert cache_folder() == tmp_path / ".cache" / "voxflate"
