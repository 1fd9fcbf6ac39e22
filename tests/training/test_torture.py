import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import soak


@pytest.mark.slow
def test_a_training_killed_at_random_moments_is_the_one_left_alone(tmp_path):
    """The short form of `python -m benchmarks.torture`, which kills a hundred times."""
    options = ["--kills", "3", "--steps", "3", "--keep", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.torture", *options]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:11] for line in lines] == ["2d: 2 kills", "3d: 1 kills"]
    assert all(re.search(r"kills, 1 of them inside a snapshot's write", line) for line in lines)
    assert all(re.search(r"counted twice 0, missing 0; .* equal bit for bit", line) for line in lines)


def test_snapshots_leave_no_file_open(tmp_path):
    """The short form of `python -m benchmarks.soak`, which writes two thousand."""
    gc.collect()  # files that earlier tests left open would be closed at any time
    readings = soak.soak(tmp_path, 20)
    assert len(readings) == 20
    assert readings[-1].handles == readings[5].handles
