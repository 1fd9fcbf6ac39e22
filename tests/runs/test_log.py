import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from voxflate._system.errors import VoxflateError
from voxflate._system.files import parse_json
from voxflate.runs.log import LOG_NAME, METRICS_NAME, SNAPSHOTS_NAME, TrainingLog, read_rows


def rows_of(log, name):
    return [row["n_images"] for row in read_rows(log.run / name)]


def test_rows_of_images_that_are_shown_again_go(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for n_images in (8, 16, 24):
        log.scalars({"n_images": n_images, "loss_g": 0.5})
        log.metrics({"n_images": n_images, "extractor": "random"})
    log.close()
    again = TrainingLog(tmp_path, 16)
    again.scalars({"n_images": 32, "loss_g": 0.25})
    again.close()
    assert rows_of(again, LOG_NAME) == [8, 16, 32]
    assert rows_of(again, METRICS_NAME) == [8, 16]
    assert list((tmp_path / "tensorboard").iterdir())


def test_tensorboard_shows_sheets_beside_their_snapshot(tmp_path):
    sheet = tmp_path / "sheet.png"
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(sheet)
    log = TrainingLog(tmp_path, 0)
    log.picture(sheet, 24)
    log.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    (picture,) = shown.Images("samples")
    assert (picture.step, picture.height, picture.width) == (24, 4, 6)


def test_a_log_knows_which_snapshots_were_measured(tmp_path):
    log = TrainingLog(tmp_path, 0)
    assert not log.has(METRICS_NAME, 0)
    log.metrics({"n_images": 0, "frechet": 1.0})
    log.close()
    again = TrainingLog(tmp_path, 0)
    assert again.has(METRICS_NAME, 0)
    assert not again.has(METRICS_NAME, 8)
    assert not again.has(SNAPSHOTS_NAME, 0)
    again.close()


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path):
    path = tmp_path / LOG_NAME
    path.write_text(json.dumps({"n_images": 8}) + "\n" + '{"n_images": 1')
    assert read_rows(path) == [{"n_images": 8}]
    log = TrainingLog(tmp_path, 8)
    log.scalars({"n_images": 16})
    log.close()
    assert rows_of(log, LOG_NAME) == [8, 16]
    assert read_rows(tmp_path / "nothing.jsonl") == []


def test_what_is_no_number_is_left_out_of_a_row(tmp_path):
    """NaN is not JSON: other programs could not read the file."""
    log = TrainingLog(tmp_path, 0)
    log.metrics({"n_images": 8, "frechet": 1.0, "real-volume-w1-a": float("nan"), "kid": float("inf")})
    log.close()
    assert parse_json((tmp_path / METRICS_NAME).read_text()) == {"n_images": 8, "frechet": 1.0}


def test_a_log_that_cannot_be_written_is_a_line_for_the_user(tmp_path):
    log = TrainingLog(tmp_path, 0)
    (tmp_path / LOG_NAME).mkdir()
    with pytest.raises(VoxflateError, match=r"log\.jsonl: cannot be written"):
        log.scalars({"n_images": 8})
    log.close()


@pytest.mark.parametrize("line", ["[" * 100_000, '"text"', '{"n_images": "8"}', "9" * 5000, "\0\xff"])
def test_a_line_that_is_no_row_is_skipped(tmp_path, line):
    path = tmp_path / LOG_NAME
    path.write_text(json.dumps({"n_images": 8}) + "\n" + line + "\n" + json.dumps({"n_images": 16}) + "\n")
    assert read_rows(path) == [{"n_images": 8}, {"n_images": 16}]


def test_a_tensorboard_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    log = TrainingLog(tmp_path, 0)
    log.scalars({"n_images": 8, "loss_g": 0.5})
    log.close()
    assert rows_of(log, LOG_NAME) == [8]


def test_an_unreadable_line_is_said_and_loses_no_other_row(tmp_path):
    path, told = tmp_path / METRICS_NAME, []
    path.write_text('{"n_images": 8}\n{"n_im\n{"n_images": 16}\n{"n_im')
    TrainingLog(tmp_path, 16, told.append).close()
    assert path.read_text() == '{"n_images": 8}\n{"n_images": 16}\n'
    assert told == [f"{path}: line 2 cannot be read and is left out; the other lines are kept"]
