"""ONNX folder, hub folder and MONAI bundle: what is in them, and that they give what the generator gives."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import voxflate
from tests.sharing.generators import OBLIQUE, an_export
from tests.strategies import PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import write_json
from voxflate.cli import app
from voxflate.evaluation.assessment import Assessment, Metric
from voxflate.runs.facts import read_facts
from voxflate.runs.verify import verify_folder
from voxflate.sharing.about import Words, about
from voxflate.sharing.targets import TARGETS, share
from voxflate.training.run import train_run

ROOT = Path(__file__).parents[2]
WORDS = Words("Brains", "SomeData", "CC-BY-4.0")
COUNTS = {"train": {"scans": 90, "subjects": 88}, "heldout": {"scans": 10, "subjects": 10}}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_export(tmp_path_factory.mktemp("shared") / "generator", stages=3, counts=COUNTS)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modalities, a mask of two classes, sex and age."""
    return an_export(tmp_path_factory.mktemp("pairs") / "generator", channels=8, counts=COUNTS, layout=PAIRS)


@pytest.fixture(scope="module")
def evaluation(export: Path) -> Path:
    """An evaluation and an audit of the generator, as `evaluate` and `audit` write them."""
    folder = export.parent / "evaluation"
    facts = {
        "generator_sha256": voxflate.load(export).weights_sha256,
        "run": "SECRET-RUN",
        "n-generated": 200,
        "n-real": 98,
        "seed": 3,
        "truncation": 1.0,
        "extractors": [{"name": "mobilenetv2", "weights-sha256": "ab" * 32}],
    }
    metrics = {
        "frechet-mobilenetv2-avg": Metric(12.25, 11.5, 13.75, 0.4, 3.5, 3.0, 4.0),
        "pairwise-l2": Metric(33.5),
    }
    warning = "data/SECRET/set: is not the data that runs/SECRET/3d was trained on"
    write_json(folder / "metrics.json", Assessment(metrics, facts, (warning,)).as_dict())
    person = {"subject": "SECRET-PERSON", "correlation": 0.5}
    found = {"n-generated": 200, "flagged": {"3": ["lead"], "7": ["lead"]}, "samples": [person], "null": []}
    write_json(folder / "audit.json", {**facts, **found})
    return folder


def shared(export: Path, target: str, out: Path, evaluation: Path | None = None) -> Path:
    share(export, target, out, WORDS, evaluation=evaluation)
    return out


def python_block(text: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return str(block)


@pytest.mark.parametrize("model", ["stylegan2", "wgan-gp"])
def test_the_onnx_folder_s_own_lines_give_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    sizes = {"stages": 3} if model == "stylegan2" else {"base": (1, 1, 1), "stages": 5, "channels": 64}
    export = an_export(tmp_path / "x", model=model, random=model == "stylegan2", **sizes)
    folder = shared(export, "onnx", tmp_path / "onnx")
    names = {"generator.json", "README.md", "synthesis.onnx"} | (
        {"mapping.onnx"} if model == "stylegan2" else set()
    )
    assert {path.name for path in folder.iterdir()} == names
    monkeypatch.chdir(folder)
    here: dict[str, Any] = {}
    exec(python_block(Path("README.md").read_text()), here)
    expected = voxflate.load(export).sample(1, first=12, truncation=0.7)
    np.testing.assert_allclose(here["volume"], expected[0], atol=1e-4)
    np.testing.assert_allclose(here["scan"], expected.intensities()[0], atol=0.05)
    np.testing.assert_allclose(json.loads(Path("generator.json").read_text())["affine"], OBLIQUE)


def test_the_onnx_folder_s_own_lines_give_a_pair_for_its_labels(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared(pairs, "onnx", tmp_path / "onnx")
    monkeypatch.chdir(folder)
    readme = Path("README.md").read_text()
    assert "`labels` [1, 3]" in readme
    assert "in this order: t1, t2, front, back" in readme
    for asked in ({"sex": "F", "age": 50.0}, {"sex": "M", "age": 71.5}):
        here: dict[str, Any] = {}
        lines = python_block(readme)
        assert "asked = {'sex': 'F', 'age': 50.0}" in lines
        exec(lines.replace("{'sex': 'F', 'age': 50.0}", repr(asked)), here)
        expected = voxflate.load(pairs).sample(1, first=12, truncation=0.7, labels=asked)
        np.testing.assert_allclose(here["volume"][:2].clip(-1, 1), expected[0], atol=1e-4)
        assert expected.masks is not None
        assert len(np.unique(expected.masks)) == 3
        assert (here["mask"] == expected.masks[0]).mean() > 0.999
        for name, scan in zip(("t1", "t2"), expected.intensities()[0], strict=True):
            np.testing.assert_allclose(here["scans"][name], scan, atol=0.05)


def test_the_hub_folder_of_pairs_makes_pairs(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared(pairs, "hub", tmp_path / "hub")
    ours = voxflate.load(pairs).sample(4, truncation=0.7)
    monkeypatch.chdir(tmp_path)
    here: dict[str, Any] = {}
    card = (folder / "README.md").read_text()
    exec(python_block(card), here)
    np.testing.assert_array_equal(here["scans"], ours)
    np.testing.assert_array_equal(here["masks"], ours.masks)
    assert here["scans"].labels == ours.labels
    written = sorted(path.name for path in Path("new-scans").iterdir())
    assert written[:3] == ["scan-0000_seg.nii.gz", "scan-0000_t1.nii.gz", "scan-0000_t2.nii.gz"]
    assert written[-1] == "scan_labels.csv"
    assert "labels={'sex': 'F', 'age': 50.0}" in card
    for text in ("t1: 12.5 to 312.5", "t2: 0 to 50", "front (2), back (7)", "sex (F, M), age (20 to 80)"):
        assert text in card, text
    assert [check.matches for check in verify_folder(folder)] == [None, True, True]
    with Image.open(folder / "samples.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.ptp(pixels - pixels.mean(axis=2, keepdims=True)) > 50  # the masks' colours


def test_the_hub_folder_is_a_generator_that_loads_and_verifies(export: Path, tmp_path: Path) -> None:
    folder = shared(export, "hub", tmp_path / "hub")
    names = {"README.md", "config.json", "generator.safetensors", "samples.png"}
    assert {path.name for path in folder.iterdir()} == names
    theirs, ours = voxflate.load(folder), voxflate.load(export)
    assert theirs.weights_sha256 == ours.weights_sha256
    np.testing.assert_array_equal(theirs.sample(2, seed=3), ours.sample(2, seed=3))
    np.testing.assert_array_equal(theirs.affine, ours.affine)
    assert [check.matches for check in verify_folder(folder)] == [None, True, True]
    again = about(folder, WORDS)
    assert again.counts == COUNTS
    with Image.open(folder / "samples.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L")).astype(int)) > 100


def test_a_run_goes_to_the_hub_and_back(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "MUSTERMANN")
    train_run(run_config(data, training__kimg=0.008), tmp_path / "run")
    folder = shared(tmp_path / "run", "hub", tmp_path / "hub")
    run, shared_one = voxflate.load(tmp_path / "run"), voxflate.load(folder)
    np.testing.assert_array_equal(run.sample(2), shared_one.sample(2))
    page = shared(tmp_path / "run", "html", tmp_path / "my brains.html").read_text()
    assert '"folder": "my brains"}' in page  # whoever has the page does not have the run
    assert (
        "which its owner can make for you: voxflate export RUN --snapshot 0.008 --out &#39;my brains&#39;."
        in page
    )
    assert '"folder": "hub"}' in shared(folder, "html", tmp_path / "hub.html").read_text()
    assert shared_one.kimg == run.kimg == 0.008
    text = "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".json"))
    assert "MUSTERMANN" not in text
    assert str(tmp_path) not in text
    assert "10 scans of 10 people" in text


def test_the_card_says_all_that_a_user_must_know(export: Path, evaluation: Path, tmp_path: Path) -> None:
    folder = shared(export, "hub", tmp_path / "hub", evaluation)
    card = (folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert front.splitlines()[0] == "license: cc-by-4.0"
    assert "- medical-imaging" in front.splitlines()
    assert "| frechet-mobilenetv2-avg | 12.2 | 11.5 to 13.8 | 3.50 |" in text
    assert "200 generated and 98 real volumes" in text
    assert "12.2, at truncation 1; between two halves of the real scans it is 3.5 (lower is better)" in text
    assert "; seed 3; features of mobilenetv2 (SHA-256 abababababababab)." in text
    assert "may resemble a person in the training data" in text
    assert "2 of 200 generated volumes (1.0%)" in text
    for heading in ("Use", "Where it comes from", "Intended use", "Metrics", "Copies", "Limits"):
        assert f"## {heading}" in text
    assert "Warning: set: is not the data that 3d was trained on" in text
    for path in folder.iterdir():
        assert b"SECRET" not in path.read_bytes(), path.name
    again = about(folder, Words(licence="MIT"))  # shared once more, it still has them
    assert again.words == Words("Brains", "SomeData", "MIT")
    assert again.assessment is not None
    assert again.assessment.metrics["pairwise-l2"].value == 33.5
    assert "2 of 200 generated volumes" in again.audit_words
    assert "of real people" not in again.audit_words  # it was not measured
    plain = (shared(export, "hub", tmp_path / "plain") / "README.md").read_text()
    assert "It was not evaluated." in plain
    assert "Not audited" in plain


def test_card_and_page_say_at_what_truncation_their_figures_were_measured(
    export: Path, pairs: Path, evaluation: Path, tmp_path: Path
) -> None:
    card = (shared(export, "hub", tmp_path / "hub", evaluation) / "README.md").read_text()
    assert ", at truncation 1; between two halves" in card
    assert card.count("Audited at truncation 1: 2 of 200") == 2
    assert "labels have less effect" not in card
    assert "truncation 0.7](samples.png)" in card
    page = shared(export, "html", tmp_path / "page.html", evaluation).read_text()
    assert "Audited at truncation 1: 2 of 200" in page
    other = tmp_path / "other"
    shutil.copytree(evaluation, other)
    audit = json.loads((other / "audit.json").read_text())
    (other / "audit.json").write_text(json.dumps({**audit, "truncation": 0.7}))
    onnx = (shared(export, "onnx", tmp_path / "onnx", other) / "README.md").read_text()
    assert "Audited at truncation 0.7: 2 of 200" in onnx
    assert ", at truncation 1; between two halves" in onnx
    plain = (shared(pairs, "hub", tmp_path / "plain") / "README.md").read_text()
    assert "less variety, and labels have less effect." in plain
    assert "at truncation" not in plain


def test_cards_and_pages_say_what_they_need_and_what_to_cite(export: Path, tmp_path: Path) -> None:
    card = (shared(export, "hub", tmp_path / "hub") / "README.md").read_text()
    page = shared(export, "html", tmp_path / "page.html").read_text()
    citation = (ROOT / "CITATION.cff").read_text().split("preferred-citation:")[1]
    title, year = (re.findall(rf"  {key}: (.*)", citation)[0] for key in ("title", "year"))
    families = re.findall(r"family-names: (.*)", citation)
    given = re.findall(r"given-names: (.*)", citation)
    names = ", ".join(f"{family}, {name[0]}." for family, name in zip(families, given, strict=True))
    for text in (card, page):
        assert f"voxflate {voxflate.__version__} (in a clone of its repository: pip install .)" in text
        assert f"{names} ({year}). {title}." in text


def test_the_command_says_what_was_measured_and_what_was_not(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    root, kimg = tmp_path / "run" / "evaluation", f"{voxflate.load(run).kimg:g}"

    def told(name: str) -> str:
        return exported(0, tmp_path / "run", "--out", tmp_path / name)

    command = f"voxflate audit {tmp_path / 'run'} --snapshot {kimg}"
    shown = told("unknown")
    assert "warning: not audited: it may make copies of training scans; before you share it, look" in shown
    assert f" with {command}\n" in shown
    assert "evaluation: " not in shown
    measure(root / "001-newest", run, "audit.json", 1, truncation=1.0)
    measure(root / "002-newest", run, "metrics.json", 1.0, truncation=0.7)
    shown = told("measured")
    assert "warning" not in shown
    assert f"\nevaluation: {root / '002-newest'} (9 volumes, truncation 0.7)\n" in shown
    assert f"\naudit: {root / '001-newest'} (50 volumes, truncation 1)\n" in shown
    measure(root / "003-newest", run, "metrics.json", 2.0)
    assert f"evaluation: {root / '003-newest'} (9 volumes), the newest of 2\n" in (shown := told("two"))
    assert shown.count("choose another with --evaluation") == 1
    many = {str(number): ["lead"] for number in range(5)}
    audit = json.loads((root / "001-newest" / "audit.json").read_text())
    warning = "warning: its audit flags 10.0% of the volumes as possible copies of training scans, "
    for alarms, verdict, warned in (
        (None, "unclear", True),
        (0.02, "unclear", True),
        (0.12, "unclear", False),
        (0.12, "more", True),
    ):
        flags = {"flagged": many, "false-alarms": alarms, "verdict": verdict}
        (root / "001-newest" / "audit.json").write_text(json.dumps({**audit, **flags}))
        assert (warning in told(f"copies {alarms} {verdict}")) == warned


def test_an_evaluation_of_another_generator_is_not_used(
    export: Path, evaluation: Path, tmp_path: Path
) -> None:
    other = an_export(tmp_path / "other", seed=1)
    with pytest.raises(VoxflateError, match=r"metrics.json: belongs to another generator than .* at 12 kimg"):
        about(other, WORDS, evaluation=evaluation)
    (other / "evaluation").symlink_to(evaluation)
    found = about(other, WORDS)
    assert found.assessment is None
    assert found.audit is None
    assert all("belongs to another snapshot" in note for note in found.notes)
    assert len(found.notes) == 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = run_config(write_prepared(folder / "MUSTERMANN"), training__kimg=0.008)
    train_run(config, folder / "run")
    return folder / "run"


def measure(folder: Path, run: Path, name: str, value: float, **facts: Any) -> None:
    """Write an evaluation (metrics.json) or an audit (audit.json) of a run's newest snapshot."""
    loaded = voxflate.load(run)
    facts = {"generator_sha256": loaded.weights_sha256, "n_images": loaded.n_images, **facts}
    folder.mkdir(parents=True, exist_ok=True)
    if name == "metrics.json":
        facts |= {"n-generated": 9, "n-real": 9}
        metrics = {"frechet-random-avg": Metric(1.5), "pairwise-l2": Metric(value)}
        write_json(folder / name, Assessment(metrics, facts).as_dict())
    else:
        write_json(folder / name, {**facts, "n-generated": 50, "flagged": {"1": ["lead"]} if value else {}})


def test_the_folder_of_a_run_gives_no_title(run: Path, tmp_path: Path) -> None:
    private = tmp_path / "MUSTERMANN"
    shutil.copytree(run, private)
    for target, name in (("hub", "README.md"), ("monai", "configs/metadata.json"), ("onnx", "README.md")):
        share(private, target, tmp_path / target, Words())
        text = (tmp_path / target / name).read_text()
        assert "Generator of MR volumes" in text, target
        assert "MUSTERMANN" not in text, target
    assert about(tmp_path / "hub", Words()).title == "hub"


def test_a_folder_keeps_what_was_said_and_measured(run: Path, tmp_path: Path) -> None:
    remark = "/home/SECRET MAN/set: is not the data that /home/SECRET MAN/3d was trained on (sha256 ab)"
    measure(tmp_path / "measured", run, "metrics.json", 12.5, other_data=remark)
    measure(tmp_path / "measured", run, "audit.json", 1, **{"false-alarms": 0.033})
    words = ("--title", "Brains", "--trained-on", "SomeData", "--data-licence", "CC-BY-4.0")
    folder = tmp_path / "folder"
    exported(0, run, "--out", folder, *words, "--evaluation", tmp_path / "measured")
    names = {"audit.json", "config.json", "generator.safetensors", "metrics.json"}
    assert {path.name for path in folder.iterdir()} == names
    for path in folder.iterdir():
        assert b"SECRET" not in path.read_bytes(), path.name
    assert "set: is not the data that 3d was trained on" in (folder / "metrics.json").read_text()
    exported(0, folder, "--to", "hub", "--out", tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    for text in (
        "license: cc-by-4.0",
        "# Brains",
        "SomeData",
        "| pairwise-l2 | 12.5",
        "1 of 50 generated volumes (2.0%) was nearer",
        "(lower is better). Measured with other data: set: is not the data that 3d was trained on",
        "3.3% of real",
    ):
        assert text in card, text
    np.testing.assert_array_equal(voxflate.load(folder).sample(2), voxflate.load(run).sample(2))
    assert "is already an export" in exported(2, folder, "--out", tmp_path / "again")


def test_an_export_says_what_2d_run_it_started_from(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "SECRET" / "set")
    twin, run = tmp_path / "SECRET" / "2d", tmp_path / "run"
    train_run(run_config(prepared, training__phase="2d"), twin, stop_at=12)  # of 24
    start = {"start__strategy": "preserving", "start__twin": str(twin), "training__kimg": 0.008}
    train_run(run_config(prepared, **start), run)
    exported(0, run, "--out", tmp_path / "folder")
    text = (tmp_path / "folder" / "config.json").read_text()
    assert "SECRET" not in text
    settings = json.loads(text)["twin"]
    assert (settings["training.phase"], settings["training.kimg"]) == ("2d", 0.024)
    for source in (run, tmp_path / "folder"):
        exported(0, source, "--to", "hub", "--out", tmp_path / f"hub of {source.name}")
        card = (tmp_path / f"hub of {source.name}" / "README.md").read_text()
        assert "- **Training**: 12 slices in 2D, then 8 scans shown: each 0.8 times" in card
        assert (
            json.loads((tmp_path / f"hub of {source.name}" / "config.json").read_text())["twin"] == settings
        )


def test_the_newest_evaluation_and_the_newest_audit_of_the_weights_are_used(
    run: Path, tmp_path: Path
) -> None:
    """They may be in two folders: an evaluation after an audit starts a new one."""
    shutil.copytree(run, tmp_path / "run")
    root = tmp_path / "run" / "evaluation"
    measure(root / "001-newest", run, "audit.json", 1)
    found = about(tmp_path / "run", WORDS)
    assert (found.assessment, found.notes) == (None, ())
    assert "1 of 50 generated volumes" in found.audit_words
    measure(root / "002-newest", run, "metrics.json", 1.0)
    measure(root / "003-newest", run, "metrics.json", 2.0)
    measure(root / "004-best", run, "audit.json", 0, generator_sha256="another")
    measure(root / "004-best", run, "metrics.json", 3.0, generator_sha256="another")
    for given in (None, root, tmp_path / "run"):
        found = about(tmp_path / "run", WORDS, evaluation=given)
        assert found.assessment is not None
        assert found.assessment.metrics["pairwise-l2"].value == 2.0
        assert "1 of 50 generated volumes" in found.audit_words


def test_an_audit_of_other_data_is_no_check_for_copies(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    root = tmp_path / "run" / "evaluation"
    for name in ("audit.json", "metrics.json"):
        measure(root / "001-newest", run, name, 1.0, data=read_facts(run)["data"])
        measure(root / "002-newest", run, name, 2.0, data="other")
    found = about(tmp_path / "run", WORDS)
    assert "1 of 50 generated volumes" in found.audit_words
    assert found.assessment is not None
    assert found.assessment.metrics["pairwise-l2"].value == 1.0
    assert [note.split(" ", 1)[0] for note in found.notes] == [
        str(root / "002-newest" / name) for name in ("metrics.json", "audit.json")
    ]
    alone = about(tmp_path / "run", WORDS, evaluation=root / "002-newest")
    assert alone.assessment is not None
    assert alone.assessment.metrics["pairwise-l2"].value == 2.0
    assert "Not audited" in alone.audit_words
    assert "002-newest/audit.json was made with other data than" in alone.notes[0]


@pytest.mark.parametrize("target", TARGETS)
def test_an_evaluation_that_is_not_there_is_refused(export: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / ("x.html" if target == "html" else "x")
    for folder in (tmp_path / "missing", tmp_path / "empty"):
        shown = exported(2, export, "--to", target, "--out", out, "--evaluation", folder)
        assert f"{folder}: has no metrics.json and no audit.json; give the folder" in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("licence", "header"),
    [
        ("", ["unknown"]),
        ("MIT", ["mit"]),
        ("CC BY 4.0", ["cc-by-4.0"]),
        ("CC-BY-SA-3.0", ["cc-by-sa-3.0"]),
        ("CC BY 4.0: see site", ["other", "cc-by-4.0-see-site"]),
        ("no", ["other", "no"]),
        ("1.0", ["other", "1.0"]),
        ('[a] "b" #c', ["other", "a-b-c"]),
        ("- x", ["other", "x"]),
        ("\N{GRINNING FACE}", ["other", "see-below"]),
    ],
)
def test_the_header_of_the_card_is_yaml_that_the_hub_takes_whatever_the_licence(
    export: Path, tmp_path: Path, licence: str, header: list[str]
) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
    folder = tmp_path / 'a "hub"'
    share(export, "hub", folder, Words(licence=licence))
    card = (folder / "README.md").read_text()
    fields = yaml.safe_load(card.split("---\n")[1])
    assert [fields[name] for name in ("license", "license_name") if name in fields] == header
    assert f"- **Licence of the data**: {licence or 'Not stated by its owner.'}\n" in card
    assert r'voxflate.load("a \"hub\"")' in card


@pytest.mark.parametrize("change", [{"n-generated": 0}, {"n-generated": None}, {"flagged": 3}])
def test_a_damaged_audit_is_one_line(
    export: Path, evaluation: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    audit = json.loads((evaluation / "audit.json").read_text())
    write_json(tmp_path / "audit.json", {**audit, **change})
    with pytest.raises(VoxflateError, match=r"audit\.json: is damaged; run voxflate audit again"):
        about(export, WORDS, evaluation=tmp_path)
    write_json(tmp_path / "audit.json", {"facts": ["x"]})
    with pytest.raises(VoxflateError, match="belongs to another generator"):
        about(export, WORDS, evaluation=tmp_path)


BOTH = """
import json, os, runpy, sys

for folder, words in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.argv = ["monai.bundle", *words]
    runpy.run_module("monai.bundle", run_name="__main__")
"""
"""`python -m monai.bundle` in each of some folders; importing MONAI takes seconds."""


@pytest.mark.parametrize(
    ("modality", "ct", "told"),
    [
        ("", False, "MR"),
        ("", True, "CT"),
        ("MR", False, "MR"),
        ("PT", False, "PT"),
        ("CT, PT", False, "CT, PT"),
    ],
)
def test_bundle_and_card_say_the_true_modality(modality: str, ct: bool, told: str, tmp_path: Path) -> None:
    export = an_export(tmp_path / "x", ct=ct, modality=modality)
    share(export, "monai", tmp_path / "bundle", Words())
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    image = metadata["network_data_format"]["outputs"]["image"]
    assert (image["modality"], image["format"]) == (told, "hounsfield" if ct else "magnitude")
    assert f"generates new {told} volumes." in metadata["description"]
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert f"generates new {told} volumes." in card
    assert f"- **Modality**: {told}\n" in card
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", card)
    assert (tmp_path / "bundle" / "docs" / picture).is_file()
    share(export, "hub", tmp_path / "hub", Words(data="scans of SomeData"))
    assert f"- **Modality**: {told}\n" in (tmp_path / "hub" / "README.md").read_text()
    kept = json.loads((tmp_path / "bundle" / "models" / "config.json").read_text())["geometry"]["modality"]
    assert kept == modality


@pytest.mark.slow
def test_monai_runs_the_bundle(export: Path, pairs: Path, tmp_path: Path) -> None:
    plain = shared(export, "monai", tmp_path / "plain")
    metadata = json.loads((plain / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["image"]["spatial_shape"] == [8, 16, 16]
    assert list(metadata["network_data_format"]["inputs"]) == ["latent"]
    assert metadata["required_packages_version"] == {"voxflate": voxflate.__version__}
    assert voxflate.load(plain / "models").shape == (8, 16, 16)
    folder = shared(pairs, "monai", tmp_path / "bundle")
    formats = json.loads((folder / "configs" / "metadata.json").read_text())["network_data_format"]
    channels = {"0": "t1", "1": "t2", "2": "front (mask)", "3": "back (mask)"}
    assert formats["outputs"]["image"]["channel_def"] == channels
    assert formats["inputs"]["labels"]["num_channels"] == 3
    for name in ("monai", "fire"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    words = [
        "run",
        "--config_file",
        "configs/inference.json",
        "--count",
        "2",
        "--seed",
        "5",
        "--device",
        "cpu",
    ]
    runs = json.dumps([[str(plain), words], [str(folder), [*words, "--labels", "{'age': 33}"]]])
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", BOTH, runs], env=environment, check=True, capture_output=True)
    written = sorted((plain / "eval").iterdir())
    assert len(written) == 2
    for path, scan in zip(written, voxflate.load(export).sample(2, seed=5), strict=True):
        np.testing.assert_allclose(nib.load(path).get_fdata().T, scan.intensities(), atol=0.05)
        np.testing.assert_allclose(nib.load(path).affine, OBLIQUE, atol=1e-5)
    expected = voxflate.load(pairs).sample(2, seed=5, labels={"age": 33})
    assert expected.masks is not None
    for number, scan in enumerate(expected):
        parts = {"t1": scan.intensities()[0], "t2": scan.intensities()[1], "seg": scan.masks}
        for name, values in parts.items():
            image = nib.load(folder / "eval" / f"sample-{number:04d}_{name}.nii.gz")
            np.testing.assert_allclose(image.get_fdata().T, values, atol=0.05)
            np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    table = (folder / "eval" / "sample_labels.csv").read_text().splitlines()
    assert table[0] == "sample,sex,age"
    assert len(table) == 3
    assert table[1].startswith("sample-0000,")
    assert table[1].endswith(",33")


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "html"])
def test_a_folder_that_is_taken_stays_as_it_is(export: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(VoxflateError, match="not an empty folder"):
        share(export, target, tmp_path, WORDS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def exported(status: int, *arguments: object) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def test_pushing_uploads_the_folder(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    class Api:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            done.append((name, private, exist_ok))
            return f"https://hub/{name}"

        def upload_folder(self, folder_path: str, repo_id: str) -> None:
            done.append((sorted(path.name for path in Path(folder_path).iterdir()), repo_id))

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=Api))  # type: ignore[arg-type]
    shown = exported(0, export, "--to", "hub", "--out", tmp_path / "hub", "--push", "me/brains")
    assert "uploaded to https://hub/me/brains" in shown
    assert done[0] == ("me/brains", True, True)
    assert "generator.safetensors" in done[1][0]

    def refuse(*_: object, **__: object) -> None:
        raise OSError("401 unauthorized\ndetails")

    monkeypatch.setattr(Api, "create_repo", refuse)
    shown = exported(2, export, "--to", "hub", "--out", tmp_path / "again", "--push", "me/brains")
    assert "the hub refused it (401 unauthorized)" in shown
    assert f"then hf upload me/brains {tmp_path / 'again'} . --private" in " ".join(shown.split())
    assert (tmp_path / "again" / "README.md").is_file()


def test_pushing_without_the_client_is_refused_before_the_work(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    shown = exported(2, export, "--to", "hub", "--out", tmp_path / "hub", "--push", "me/brains")
    assert "voxflate[hub]" in shown
    assert not (tmp_path / "hub").exists()
    assert "only works with --to hub" in exported(
        2, export, "--to", "onnx", "--out", tmp_path / "x", "--push", "a/b"
    )
