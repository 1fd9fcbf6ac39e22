import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from voxflate._system.errors import VoxflateError
from voxflate._system.files import (
    check_new_folder,
    check_no_links,
    check_writable,
    continued_folder,
    parse_json,
    read_json,
    sha256,
    whole_file,
    whole_folder,
    write_json,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "new" / "folder" / "data.nii.gz"
    for content in ("old", "new"):
        with whole_file(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith("data.nii.gz")
            temporary.write_text(content)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == content
    assert names(path.parent) == ["data.nii.gz"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), VoxflateError("one line")])
def test_on_an_error_the_old_file_stays_and_the_error_goes_on(tmp_path, error):
    path = tmp_path / "data"
    path.write_text("old")

    def write():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["data"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_is_a_line_for_the_user(tmp_path, monkeypatch, step):
    path = tmp_path / "data"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step != "write":
        monkeypatch.setattr(os, step, full)

    def write():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            if step == "write":
                full()

    with pytest.raises(VoxflateError) as caught:
        write()
    assert str(path) in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["data"]


def test_the_data_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("replace"), replace(*paths)))
    with whole_file(tmp_path / "data") as temporary:
        temporary.write_text("content")
    assert order == ["fsync", "replace", "fsync"]


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("I am no folder")
    path = tmp_path / "file" / "data"
    with pytest.raises(VoxflateError, match="cannot be written"), whole_file(path):
        pytest.fail("there is no folder to write to")
    assert names(tmp_path) == ["file"]


def test_a_folder_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as temporary:
        (temporary / "data").write_text("content")
        assert not path.exists()
    assert names(tmp_path / "new") == ["folder"]
    assert names(path) == ["data"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_folder_that_fails_takes_its_new_parents_with_it(tmp_path, error):
    (tmp_path / "old").mkdir()

    def write():
        with whole_folder(tmp_path / "old" / "new" / "newer" / "folder") as temporary:
            (temporary / "data").write_text("half")
            raise error

    with pytest.raises(VoxflateError if isinstance(error, OSError) else type(error)):
        write()
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == []


def test_a_folder_that_fills_meanwhile_stays_as_it_is(tmp_path):
    path = tmp_path / "folder"

    def write():
        with whole_folder(path):
            path.mkdir()
            (path / "theirs").touch()

    with pytest.raises(VoxflateError, match="something else has this name; choose another"):
        write()
    assert names(path) == ["theirs"]
    with pytest.raises(VoxflateError, match="choose a shorter name"), whole_folder(tmp_path / ("x" * 250)):
        pytest.fail("there is no such folder")


def test_a_new_folder_is_missing_or_empty(tmp_path, monkeypatch):
    check_new_folder(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    check_new_folder(tmp_path / "empty")
    for full in (tmp_path, tmp_path / "empty" / "..", __file__):
        with pytest.raises(VoxflateError, match="is not an empty folder"):
            check_new_folder(full)
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(VoxflateError, match="choose a new one"):
        check_new_folder(".")


@pytest.mark.parametrize("where", ["a file of its own", "write_json"])
def test_long_work_is_kept_when_the_disk_is_full(tmp_path, monkeypatch, where):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work(content):
        with continued_folder(tmp_path / "set") as folder:
            (folder / "hours").write_text(content)
            if where == "write_json":
                write_json(folder / "facts", {})
            else:
                os.replace(folder / "hours", folder / "done")

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        with pytest.raises(VoxflateError, match="free some space") as caught:
            work("of work")
    assert isinstance(caught.value.args[0], str)
    (unfinished,) = tmp_path.iterdir()
    assert (unfinished / "hours").read_text() == "of work"
    work("finished")
    assert names(tmp_path) == ["set"]


def test_the_lock_of_long_work_is_closed_once(tmp_path, monkeypatch):
    """A second time could close a file that something else has opened since."""
    wrong, close = [], os.close

    def checked(descriptor):
        try:
            close(descriptor)
        except OSError:
            wrong.append(descriptor)

    monkeypatch.setattr(os, "close", checked)
    with continued_folder(tmp_path / "set"):
        pass
    assert wrong == []


def test_the_current_folder_is_not_replaced_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for name in (tmp_path / "here", "../here", tmp_path / "link"):
        with pytest.raises(VoxflateError, match="is the current folder"):
            check_new_folder(name)


@pytest.mark.parametrize("writer", [whole_folder, continued_folder])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stands_for_the_folder_it_leads_to(tmp_path, writer, exists):
    place = tmp_path / "disk" / "place"
    place.parent.mkdir()
    if exists:
        place.mkdir()
    (tmp_path / "link").symlink_to("disk/place")
    check_new_folder(tmp_path / "link")
    with writer(tmp_path / "link") as temporary:
        (temporary / "data").write_text("content")
    assert (tmp_path / "link").is_symlink()
    assert names(place) == ["data"]
    assert names(place.parent) == ["place"]
    assert names(tmp_path) == ["disk", "link"]


def test_links_in_a_loop_and_mount_points_are_refused(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(VoxflateError, match="leads in a loop"):
        check_new_folder(tmp_path / "loop")
    place = tmp_path / "a place"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == place)
    for path in (place, tmp_path / "link"):
        with pytest.raises(
            VoxflateError, match=r"is a mount point.*choose a folder inside it, such as .*new"
        ):
            check_new_folder(path)
    check_new_folder(place / "new")


def test_a_bind_mount_of_the_same_disk_is_a_mount_point(tmp_path):
    """`os.path.ismount` does not see one; making it needs the rights of an administrator."""
    place = tmp_path / "a place"
    place.mkdir()
    code = "from voxflate._system.files import check_new_folder as c; import sys; c(sys.argv[1])"
    script = 'mount --bind "$1" "$1" || exit 77; exec "$2" -c "$3" "$1"'
    try:
        words = ["unshare", "-m", "sh", "-c", script, "sh", str(place), sys.executable, code]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("there is no unshare")
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("nothing can be mounted here")
    assert "is a mount point" in result.stderr


def test_a_place_for_a_file_is_tried_and_left_as_it_was(tmp_path):
    check_writable(tmp_path / "new" / "newer" / "names.csv")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "names.csv", "/proc/names.csv", "/proc/new/names.csv"):
        with pytest.raises(VoxflateError, match=r"names.csv: cannot be written .*choose another"):
            check_writable(path)


def test_json_comes_back_and_is_whole_or_absent(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"a": [1, 2.5, None], "é": "ü"})
    assert read_json(path) == {"a": [1, 2.5, None], "é": "ü"}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"bad": float("nan")})
    assert read_json(path)["a"] == [1, 2.5, None]
    assert names(tmp_path) == ["facts.json"]


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    path = tmp_path / "facts.json"
    with pytest.raises(VoxflateError, match=r"facts\.json: no such file"):
        read_json(path)
    for content in (b'{"a": ', b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(VoxflateError, match=r"facts\.json: is not valid JSON"):
            read_json(path)


def test_sha256_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 1000)
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_temporary_names_cannot_be_guessed(tmp_path):
    names_seen = []
    for _ in range(3):
        with whole_file(tmp_path / "data") as temporary:
            names_seen.append(temporary.name)
            temporary.write_text("content")
    assert len(set(names_seen)) == 3
    assert all(name.startswith(".tmp-") for name in names_seen)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "make its folder writable"),
        (errno.EROFS, "make its folder writable"),
        (errno.ENOENT, "its folder was removed"),
    ],
)
def test_the_advice_fits_the_refusal(tmp_path, monkeypatch, number, advice):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(VoxflateError, match=advice):
        write_json(tmp_path / "data", {})


def test_a_link_that_replaces_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / "data").symlink_to(tmp_path / "precious")
    write_json(tmp_path / "data", {"a": 1})
    assert (tmp_path / "precious").read_text() == "content"
    assert not (tmp_path / "data").is_symlink()


def test_links_are_refused_where_they_lead_out(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "inside").symlink_to(folder)
    check_no_links(folder)
    check_no_links(tmp_path / "missing")
    (folder / "deep" / "up").symlink_to("../../..")
    with pytest.raises(
        VoxflateError, match=r"deep/up: is a link that leads out of its folder, to \.\./\.\./\.\."
    ):
        check_no_links(folder)


def test_a_json_file_has_a_largest_size(tmp_path):
    write_json(tmp_path / "data", list(range(100)))
    with pytest.raises(VoxflateError, match="at most 50 are read"):
        read_json(tmp_path / "data", largest=50)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "[" * 100_000, "9" * 5000])
def test_json_means_json(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)
