import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest

from voxflate._system.errors import VoxflateError
from voxflate.runs.lock import LOCK_NAME, run_lock

HOLDER = """
import sys, time
from pathlib import Path
from voxflate.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_with_the_owners_pid_and_host_and_sigkill_frees_the_lock(tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, run], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(VoxflateError) as caught, run_lock(run):
            pytest.fail("two processes in one run")
        line = str(caught.value)
        assert f"{run}: is in use by process {process.pid} on {socket.gethostname()} since 20" in line
        assert "\n" not in line
        process.kill()
    assert (run / LOCK_NAME).exists()
    with run_lock(run):  # what the killed process left behind blocks nobody
        assert f'"pid": {os.getpid()}' in (run / LOCK_NAME).read_text()
    assert not (run / LOCK_NAME).exists()


def test_a_folder_made_for_the_lock_goes_if_nothing_is_written(tmp_path):
    def refused():
        with run_lock(tmp_path / "new" / "run"):
            raise VoxflateError("no")

    with pytest.raises(VoxflateError):
        refused()
    assert not list(tmp_path.iterdir())
    with run_lock(tmp_path / "run"):
        (tmp_path / "run" / "config.toml").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.toml"]


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"pid": "x"}', "\0\0"])
def test_a_damaged_lock_file_is_no_obstacle_and_its_owner_is_unknown(tmp_path, content):
    path = tmp_path / LOCK_NAME
    path.write_text(content)
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(VoxflateError, match="in use by another process"), run_lock(tmp_path):
            pytest.fail("locked twice")
    with run_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_said_and_no_obstacle(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    told = []
    with run_lock(tmp_path, told.append):
        pass
    assert "do not start a second run" in told[0]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("content")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_NAME).symlink_to(target)
    with pytest.raises(VoxflateError, match="cannot be written"), run_lock(tmp_path / "run"):
        pytest.fail("followed")
    assert target.read_text() == "content"
