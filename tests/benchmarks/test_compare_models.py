"""The comparison of models: one budget in a table, one set of options in a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.compare_models import FIGURES, Study, check_options, rows_of, table

from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.config.toml import from_values, save_config


@pytest.fixture
def study(tmp_path: Path) -> Study:
    data = write_prepared(tmp_path / "set").root
    (tmp_path / "out").mkdir()
    return Study(data, None, tmp_path / "out", 2.0, 0.5, 1, 3, 8, {"training.batch": 4})


def finished(study: Study, name: str, seed: int, kimg: float, value: float) -> None:
    """What the table reads of a run."""
    folder = study.folder(name, seed)
    folder.mkdir(parents=True)
    save_config(from_values({"training.kimg": kimg, "training.seed": seed}), folder)
    row = {
        "n_images": round(1000 * kimg),
        "n-generated": 8,
        "n-real": 8,
        **dict.fromkeys(FIGURES.values(), value),
    }
    files = {"run.json": {"parameters": {"g": 1}}, "metrics.jsonl": row, "log.jsonl": {**row, "seconds": 9.0}}
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content) + "\n")


def test_a_table_has_runs_of_one_budget(study: Study) -> None:
    for seed, (kimg, value) in enumerate(((2.0, 10.0), (2.0, 12.0), (1.0, 90.0))):
        finished(study, "split-shuffle", seed, kimg, value)
    assert [row["seed"] for row in rows_of(study)] == [0, 1]
    assert "| split-shuffle | 2 |" in table(rows_of(study))
    assert "| 11 \N{PLUS-MINUS SIGN} 1.4 |" in table(rows_of(study))
    assert [row["seed"] for row in rows_of(replace(study, kimg=1.0))] == [2]


def test_a_folder_has_one_set_of_options(study: Study, tmp_path: Path) -> None:
    check_options(study)
    check_options(replace(study, kimg=4.0, threads=2, seeds=1, twin=tmp_path / "2d"))  # these may change
    check_options(study)  # another process, which does not train the inflated model
    other = write_prepared(tmp_path / "other", n_train=9).root
    for changes, words in (
        ({"grid_kimg": 4.0}, "options.json: has grid_kimg = 0.5, not 4.0; give another --out"),
        ({"values": {}}, "has set = "),
        ({"samples": 9}, "has samples = 8, not 9"),
        ({"data": other}, "has data = "),
        ({"twin": tmp_path / "3d"}, "has twin = "),
    ):
        with pytest.raises(VoxflateError, match=words):
            check_options(replace(study, **changes))
