"""Utility on sets where the answer is known: boxes to segment, brightness to read."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.strategies import PAIRS, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Channel, LabelColumn, Layout
from voxflate.data.prepared import Manifest, PreparedSet, open_prepared, to_stored
from voxflate.evaluation.utility import cells, fitting
from voxflate.evaluation.utility.cells import (
    BOTH,
    GENERATED,
    PRETRAINED,
    REAL,
    Cell,
    Design,
    Measured,
    Study,
    counts_of,
)
from voxflate.evaluation.utility.examples import Examples, real_examples
from voxflate.evaluation.utility.fitting import changed
from voxflate.evaluation.utility.summary import AGREEMENT, BLIND, Row, _row, _Setting, rows_of
from voxflate.evaluation.utility.tasks import MASK, ClassTask, MaskTask, NumberTask, tasks_of

BOXES = Layout((Channel("t1"), Channel("box", "mask", label=3)))
LABELS = (LabelColumn("sex", ("F", "M")), LabelColumn("age", low=20, high=80, mean=50, deviation=20))
QUICK = Design((16,), 16, seeds=1, steps=40, augment=False)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return write_prepared(tmp_path_factory.mktemp("boxes") / "set", layout=BOXES, n_train=16, n_heldout=8)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Pairs of the same kind, in place of generated ones."""
    folder = tmp_path_factory.mktemp("others") / "set"
    return real_examples(write_prepared(folder, layout=BOXES, n_train=16, seed=1), "train")


def shuffled(pairs: Examples) -> Examples:
    """The same scans, each with the mask of another one."""
    assert pairs.classes is not None
    return replace(pairs, classes=np.roll(pairs.classes, 5, axis=0))


def values(rows: list[Row], metric: str) -> dict[str, Row]:
    return {row.arm: row for row in rows if row.metric in (metric, f"agreement-{metric}")}


def test_shuffled_masks_are_of_no_use_and_do_not_agree(boxes: PreparedSet, others: Examples) -> None:
    tasks = tasks_of(boxes, ())
    study = Study(boxes, shuffled(others), tasks, QUICK)
    found = values(rows_of(study.run(), tasks, study.heldout), "dice")
    assert found[REAL].value > 0.8
    assert found[GENERATED].value < found[REAL].value - 0.15
    assert found[GENERATED].difference_high is not None
    assert found[GENERATED].difference_high < -0.1
    assert found[AGREEMENT].value < found[REAL].value - 0.15


def with_brightness(folder: Path, layout: Layout) -> PreparedSet:
    """Volumes whose brightness is the age, and whose upper half is brighter for F."""
    write_prepared(folder, layout=layout, n_train=20, n_heldout=10)
    manifest = Manifest.read(folder)
    rng = np.random.default_rng(0)
    for split in ("train", "heldout"):
        labels = [scan.labels for scan in manifest.scans if scan.split == split]
        volumes = rng.normal(0, 0.05, (len(labels), *manifest.shape)).astype(np.float32)
        for volume, label in zip(volumes, labels, strict=True):
            volume += (float(label["age"]) - 50) / 60
            volume[: len(volume) // 2] += 0.4 * (label["sex"] == "F")
        np.save(folder / f"{split}.npy", to_stored(np.clip(volumes, -1, 1)))
    return open_prepared(folder)


def test_labels_are_read_off_scans_and_wrong_ones_are_not_learnt(tmp_path: Path) -> None:
    prepared = with_brightness(tmp_path / "set", Layout((Channel("t1"),), LABELS))
    tasks = tasks_of(prepared, ["sex", "age"])
    train = real_examples(prepared, "train")
    wrong = replace(train, labels=[train.labels[-1 - number] for number in range(len(train))])
    design = replace(QUICK, real=(20,))
    study = Study(prepared, wrong, tasks, design, asked={"age": train})
    rows = rows_of(study.run(), tasks, study.heldout)
    age, r, sex = (values(rows, metric) for metric in ("mae-age", "r-age", "balanced-accuracy-sex"))
    assert age[REAL].value < 0.5 * age[BLIND].value
    assert r[REAL].value > 0.9
    assert r[BLIND].value == 0
    assert r[AGREEMENT].value > 0.9
    assert age[GENERATED].value > 2 * age[REAL].value
    assert sex[REAL].value > 0.9
    assert sex[BLIND].value == 0.5
    assert AGREEMENT not in sex  # nothing was asked for


def test_a_killed_study_goes_on_and_gives_the_same(
    boxes: PreparedSet, others: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design((4, 16), 16, seeds=1, steps=3)
    study = Study(boxes, others, tasks_of(boxes, ()), design)
    whole = study.run()
    assert [each.cell.arm for each in whole] == [REAL, REAL, GENERATED, BOTH, BOTH, PRETRAINED, PRETRAINED]

    def kill(done: int, total: int) -> None:
        assert total == 21
        if done == 7:  # in the third training
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path, {"generator": "a"}, kill)
    assert len(list(tmp_path.iterdir())) == 2
    trained = []
    fit = fitting.fit
    monkeypatch.setattr(cells, "fit", lambda *a, **k: trained.append(1) or fit(*a, **k))
    seen = []
    again = Study(boxes, others, tasks_of(boxes, ()), design)
    found = again.run(tmp_path, {"generator": "a"}, lambda done, total: seen.append(done))
    assert len(trained) == 5
    assert seen[-1] == 21
    assert [replace(each, seconds=0) for each in found] == [replace(each, seconds=0) for each in whole]
    more = Study(boxes, others, tasks_of(boxes, ()), replace(design, seeds=2))
    more.run(tmp_path, {"generator": "a"})
    assert len(trained) == 5 + 7
    again.run(tmp_path, {"generator": "b"})
    assert len(trained) == 5 + 7 + 6  # a network that saw no generated volume serves all generators
    for path in tmp_path.iterdir():
        path.write_text("{}")
    with pytest.raises(VoxflateError, match="is damaged"):
        again.run(tmp_path, {"generator": "b"})


def test_cells_of_other_labels_are_other_cells(tmp_path: Path) -> None:
    """The same voxels prepared again with another table; cells of sets without labels keep their names."""

    def key(prepared: PreparedSet) -> str:
        examples = real_examples(prepared, "train")
        study = Study(prepared, examples, tasks_of(prepared, ()), replace(QUICK, real=(10,)))
        return study._key(Cell(MASK, REAL, 10, 0, 0), {"generator": "a"})

    write_prepared(tmp_path / "set", layout=replace(BOXES, labels=LABELS))
    manifest = Manifest.read(tmp_path / "set")
    first = key(open_prepared(tmp_path / "set"))
    scans = [replace(scan, labels=scan.labels | {"sex": "F"}) for scan in manifest.scans]
    replace(manifest, scans=scans).write(tmp_path / "set")
    people = key(open_prepared(tmp_path / "set"))
    columns = replace(manifest.layout, labels=(*LABELS[:1], replace(LABELS[1], mean=40)))
    replace(manifest, layout=columns).write(tmp_path / "set")
    assert len({first, people, key(open_prepared(tmp_path / "set"))}) == 3
    assert key(write_prepared(tmp_path / "plain", layout=BOXES)) == "d96d8440ee8d8413c895de44"


def test_held_out_subjects_are_never_trained_on(
    boxes: PreparedSet, others: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design((4, 8, 16), 16, seeds=2, steps=1)
    study = Study(boxes, others, tasks_of(boxes, ()), design)
    monkeypatch.setattr(
        cells, "fit", lambda task, phases, *_, **__: shown.append([*chain(*phases)]) or torch.nn.Identity()
    )
    monkeypatch.setattr(MaskTask, "outcomes", lambda *_: {})
    shown: list[list[Examples]] = []
    seen = {each.cell: sides for each, sides in zip(study.run(), shown, strict=True)}
    heldout = {volume.tobytes() for volume in boxes.stored("heldout")[:, :1]}
    train = {volume.tobytes() for volume in boxes.stored("train")[:, :1]}
    assert not heldout & train
    for cell, sides in seen.items():
        real = [side for side in sides if side is not others]
        assert len(sides) - len(real) == (cell.arm != REAL)
        assert sum(len(set(side.subjects)) for side in real) == cell.real
        assert {volume.tobytes() for side in real for volume in side.images} <= train

    def people(arm: str, count: int, seed: int) -> set[str]:
        generated = 0 if arm == REAL else 16
        sides = seen[Cell(MASK, arm, count, generated, seed)]
        return {who for side in sides if side is not others for who in side.subjects}

    for seed in (0, 1):
        assert people(REAL, 4, seed) == people(BOTH, 4, seed) < people(REAL, 8, seed)
        assert people(PRETRAINED, 4, seed) == people(REAL, 4, seed)
    assert people(REAL, 4, 0) != people(REAL, 4, 1)


@pytest.mark.parametrize(("arm", "expected"), [(BOTH, ["gr"] * 5), (PRETRAINED, ["g", "g", "g", "r", "r"])])
def test_a_network_sees_both_kinds_together_or_one_after_the_other(
    boxes: PreparedSet, others: Examples, monkeypatch: pytest.MonkeyPatch, arm: str, expected: list[str]
) -> None:
    fresh = replace(others, subjects=[f"generated-{number}" for number in range(len(others))])
    design = Design((16,), 16, seeds=1, steps=5, batch=4)
    (task,) = tasks_of(boxes, ())
    study = Study(boxes, fresh, [task], design)
    batches: list[list[str]] = []
    chosen = MaskTask.targets
    monkeypatch.setattr(
        MaskTask,
        "targets",
        lambda self, examples: batches.append(list(examples.subjects)) or chosen(self, examples),
    )
    options = {"steps": 5, "batch": 4, "augment": False, "seed": 0, "device": torch.device("cpu")}
    fitting.fit(task, study.examples_of(Cell(MASK, arm, 16, 16, 0)), boxes.spacing, **options)
    kinds = [sorted({"g" if who.startswith("generated") else "r" for who in batch}) for batch in batches]
    assert ["".join(kind) for kind in kinds] == expected
    assert {len(batch) for batch in batches} == {4}
    shown = Counter(who for batch in batches for who in batch)
    assert max(shown.values()) == 1  # nothing twice before everything was shown once


def test_a_subject_on_both_sides_is_refused(tmp_path: Path, others: Examples) -> None:
    write_prepared(tmp_path / "set", layout=BOXES)
    manifest = Manifest.read(tmp_path / "set")
    scans = [replace(scan, subject="s0") if scan.split == "heldout" else scan for scan in manifest.scans]
    replace(manifest, scans=scans).write(tmp_path / "set")
    prepared = open_prepared(tmp_path / "set")
    with pytest.raises(VoxflateError, match="subject s0 is both trained on and held out"):
        Study(prepared, others, tasks_of(prepared, ()), QUICK)


def test_a_mask_moves_with_its_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = torch.zeros(8, 1, 8, 12, 16, dtype=torch.int64)
    classes[:, :, 2:5, 3:7, 4:12] = 2
    images, spacing = classes.float() - 1, (3.0, 2.0, 1.0)
    monkeypatch.setattr(fitting, "MOVED", 0.5)
    moved, turned = changed(images, classes, spacing, np.random.default_rng(0))
    still = [bool((turned[number] == classes[number]).all()) for number in range(len(classes))]
    assert sorted(set(still)) == [False, True]
    assert ((moved > 0) == (turned > 0)).all()
    assert set(turned.unique().tolist()) == {0, 2}
    number = torch.ones(8, 1)
    assert changed(images, number, spacing, np.random.default_rng(0))[1] is number
    monkeypatch.setattr(fitting, "MOVED", 1.0)
    for name in ("TURN", "SCALE", "SHIFT"):
        monkeypatch.setattr(fitting, name, 0.0)
    same, still = changed(images, classes, spacing, np.random.default_rng(0))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    assert torch.equal(still, classes)


def test_a_turn_keeps_millimetres(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter turn makes 10 voxels of 1 mm of 5 voxels of 2 mm."""
    classes = torch.zeros(1, 1, 4, 20, 40, dtype=torch.int64)
    classes[:, :, :, 8:13, 18:22] = 1
    rng = type("Quarter", (), {"turns": iter([np.pi / 2, 0, 0, 1, np.zeros(3)])})()
    rng.uniform, rng.random = lambda *_: next(rng.turns), lambda: 0.0
    turned = changed(classes.float(), classes, (1.0, 2.0, 1.0), rng)[1][0, 0, 2]
    sides = [int(turned.any(dim=axis).sum()) for axis in (0, 1)]
    assert sides == [10, 2]


def test_paired_differences_are_surer_than_single_values(boxes: PreparedSet) -> None:
    (task,) = tasks_of(boxes, ())
    heldout = real_examples(boxes, "heldout")
    hard = np.linspace(0.3, 0.8, len(heldout))

    def outcome(arm: str, real: int, generated: int, seed: int, gain: float) -> Measured:
        shown = {"dice-box": (hard + gain).tolist(), "hd95-box": (5 - hard).tolist()}
        return Measured(Cell(MASK, arm, real, generated, seed), shown, None, 1.0)

    measured = [outcome(REAL, 8, 0, seed, 0.01 * seed) for seed in range(3)]
    measured += [outcome(BOTH, 8, 16, seed, 0.1 + 0.01 * seed) for seed in range(3)]
    both = values(rows_of(measured, [task], heldout), "dice")[BOTH]
    assert both.value == pytest.approx(0.55 + 0.11)
    assert both.deviation == pytest.approx(0.01)
    assert (both.difference, both.difference_low, both.difference_high) == pytest.approx((0.1, 0.1, 0.1))
    assert both.low is not None
    assert both.high is not None
    assert both.high - both.low > 0.1
    measured[-1] = outcome(BOTH, 8, 16, 2, 0.22)  # the gain is now 0.1, 0.1 and 0.2, whatever the subjects
    unsure = values(rows_of(measured, [task], heldout), "dice")[BOTH]
    assert (unsure.difference_low, unsure.difference_high) == pytest.approx((0.1, 0.2), abs=0.01)
    measured[-1] = outcome(BOTH, 8, 16, 2, 0.12)
    one = replace(heldout, subjects=["s0"] * len(heldout))
    alone = values(rows_of(measured, [task], one), "dice")[BOTH]
    assert (alone.low, alone.difference_low) == (None, None)
    assert alone.difference == pytest.approx(0.1)


def test_metrics_with_counts_are_those_of_repeated_volumes() -> None:
    rng = np.random.default_rng(0)
    sex, age = LABELS
    kinds = {"true": rng.integers(2, size=9).tolist(), "predicted": rng.integers(2, size=9).tolist()}
    numbers = {"true": rng.normal(50, 9, 9).tolist(), "predicted": rng.normal(50, 9, 9).tolist()}
    counts = rng.integers(0, 4, (5, 9)).astype(float)
    for task, outcomes in (
        (ClassTask((4, 8, 8), 1, sex, (0.5, 0.5)), kinds),
        (NumberTask((4, 8, 8), 1, age), numbers),
    ):
        found = task.metrics(outcomes, counts)
        for row, count in enumerate(counts.astype(int)):
            repeated = {name: np.repeat(each, count).tolist() for name, each in outcomes.items()}
            whole = task.metrics(repeated, np.ones((1, count.sum())))
            assert {name: each[row] for name, each in found.items()} == pytest.approx(
                {name: each[0] for name, each in whole.items()}
            )
    expected = np.corrcoef(numbers["true"], numbers["predicted"])[0, 1]
    assert task.metrics(numbers, np.ones((1, 9)))["r-age"][0] == pytest.approx(expected)


def test_correlations_need_three_people_and_stay_within_their_range() -> None:
    task = NumberTask((4, 8, 8), 1, LABELS[1])
    two = {"true": [40.0, 60.0], "predicted": [41.0, 44.0]}
    assert task.metrics(two, np.ones((1, 2))).keys() == {"mae-age"}
    rng = np.random.default_rng(0)
    for _ in range(50):
        true = rng.normal(50, 9, 7)
        line = {"true": true.tolist(), "predicted": (0.3 * true + 1).tolist()}
        assert task.metrics(line, np.ones((1, 7)))["r-age"][0] <= 1
    setting = _Setting(np.array([0.95]), np.linspace(0.7, 1.0, 100))
    row = _row(task, ("real", 7, 0), "r-age", setting, None)
    assert setting.interval().high > 1
    assert (row.low, row.high) == (setting.interval().low, 1)


def test_what_cannot_be_done_is_one_line(
    boxes: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert counts_of("4, all,16", boxes) == (4, 16)
    for text in ("0", "17", "few", "", "-3"):
        with pytest.raises(VoxflateError, match="neither all nor a number from 1 to 16"):
            counts_of(text, boxes)
    with pytest.raises(VoxflateError, match="--task age: choose one of mask"):
        tasks_of(boxes, (), ["age"])
    with pytest.raises(VoxflateError, match="has no masks and its generator knows no labels"):
        tasks_of(write_prepared(tmp_path / "plain"), ())
    without = write_prepared(tmp_path / "without", layout=BOXES, n_heldout=0)
    with pytest.raises(VoxflateError, match="has no heldout volumes"):
        real_examples(without, "heldout")
    pairs = write_prepared(tmp_path / "pairs", layout=PAIRS)
    assert [task.name for task in tasks_of(pairs, ["sex", "age"])] == [MASK]
    monkeypatch.setitem(sys.modules, "monai", None)
    assert [task.name for task in tasks_of(pairs, ["age"], ["age"])] == ["age"]
    with pytest.raises(VoxflateError, match=r"pip install 'voxflate\[utility\]'"):
        tasks_of(pairs, ["age"])
