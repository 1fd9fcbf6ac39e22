"""A training says at its start how its networks run."""

import shutil

import pytest

from tests.strategies import run_config, write_prepared
from voxflate.nn.fused.build import USUAL_COMPILERS
from voxflate.nn.run_stage import use_kernels
from voxflate.training.run import train_run


@pytest.fixture(autouse=True)
def _auto_again():
    yield
    use_kernels("auto")


@pytest.mark.parametrize("kernels", ["auto", "plain"])
def test_the_first_line_names_path_precision_and_threads(tmp_path, kernels):
    config = run_config(write_prepared(tmp_path / "data"), training__kernels=kernels)
    told = []
    train_run(config, tmp_path / "run", on_note=told.append, stop_at=0)
    fused = kernels == "auto" and any(map(shutil.which, USUAL_COMPILERS))
    assert told[0].startswith("fused path (" if fused else "plain path (")
    assert told[0].endswith("), float32, on 1 thread")
