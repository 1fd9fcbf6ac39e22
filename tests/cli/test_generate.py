"""`voxflate generate` on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calls import refused, voxflate
from tests.sharing.generators import an_export
from tests.strategies import PAIRS

CUT, AGE = ("--truncation", 0.5), ("--label", "age=70")
NOTE = "note: --truncation 0.5 weakens the effect of --label; 1 does not"


@pytest.mark.parametrize(("words", "told"), [((*AGE, *CUT), True), (AGE, False), (CUT, False)])
def test_labels_with_truncation_are_said_to_be_weaker(
    words: tuple[object, ...], told: bool, tmp_path: Path
) -> None:
    run = an_export(tmp_path / "run", channels=8, layout=PAIRS)
    shown = voxflate("generate", run, "-n", 1, "--out", tmp_path / "new", *words)
    assert shown.exit_code == 0, shown.output
    assert (NOTE in shown.stderr.splitlines()) == told
    refused("generate", run, "--out", run, *words)  # in one line
