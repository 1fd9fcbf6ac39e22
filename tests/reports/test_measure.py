"""Which snapshot was evaluated, audited, compared and shared: the same one, or it is said."""

from __future__ import annotations

import json
import pickle
import shlex
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import pydicom
import pytest

from tests.evaluation.test_suite import a_set
from tests.reports.test_evaluations import SET, evaluation, voxflate
from voxflate import VoxflateError, load
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.reports.measure import CHOSEN_BY_KID
from voxflate.reports.without_folders import without_folders
from voxflate.runs.snapshots import best_snapshot, images_of

QUICK = ("--replicates", 0, "--volume-extractor", "none", "--no-tsne")
TABLES = ("table.md", "table.tex")
SMALL = ("--set", "evaluation.samples=6")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3D run with snapshots at 0, 4 and 8 images, its data, and an export of the one at 4."""
    folder = tmp_path_factory.mktemp("home")
    a_set(folder / "set", 16, 4)
    voxflate("train", folder / "set", "--out", folder / "run", *SET, "--set", "training.keep=9")
    voxflate("export", folder / "run", "--snapshot", 0.004, "--out", folder / "export")
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "run", tmp_path / "run")
    return tmp_path / "run"


def warnings_of(run: Path) -> list[str]:
    return json.loads((evaluation(run) / "metrics.json").read_text())["warnings"]


def written(folder: Path, name: str) -> Any:
    content = json.loads((folder / name).read_text())
    return content["facts"] if name == "metrics.json" else content


def test_every_command_uses_the_snapshot_that_is_asked_for(home: Path, run: Path, tmp_path: Path) -> None:
    shown = voxflate("evaluate", run, "--snapshot", 0.004, *QUICK)
    assert "using the generator after 0.004 kimg (weights " in shown
    shown = voxflate("audit", run, "--snapshot", 0.004, "--allow", 1)
    assert "using the generator after 0.004 kimg (weights " in shown
    voxflate("generate", run, "--snapshot", 0.004, "-n", 1, "--out", tmp_path / "new")
    shared = json.loads((home / "export" / "config.json").read_text())
    for facts in (
        written(evaluation(run), "metrics.json"),
        written(evaluation(run), "audit.json"),
        written(tmp_path / "new", "generation.json"),
    ):
        assert (facts["snapshot"], facts["n_images"], facts["kimg"]) == ("0.004", 4, 0.004)
        assert facts["generator_sha256"] == shared["weights_sha256"]
    assert "has no snapshot 3" in voxflate("evaluate", run, "--snapshot", 3, "--dry-run", status=2)
    assert "has no snapshot 3" in voxflate("audit", run, "--snapshot", 3, "--dry-run", status=2)
    out = tmp_path / "out"
    assert "has no snapshot 3" in voxflate(
        "generate", run, "--snapshot", 3, "--out", out, "--dry-run", status=2
    )


def test_compare_says_which_snapshots_and_refuses_others(home: Path, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(home / "run", other)
    voxflate("evaluate", run, *QUICK)
    voxflate("evaluate", other, "--snapshot", 0.004, *QUICK)
    shown = " ".join(voxflate("compare", run, other).split())
    assert "run after 0.008 kimg (newest), weights " in shown
    assert "other after 0.004 kimg (0.004), weights " in shown
    assert "Table 2 is separate from table 1" in shown
    assert "other snapshot (after 0.008 kimg and after 0.004 kimg)" in shown
    assert "apart" not in voxflate("compare", run, "--snapshot", "newest")
    line = voxflate("compare", run, other, "--snapshot", "newest", status=2)
    assert "other: was evaluated after 0.004 kimg, which is not the snapshot newest" in line
    assert f"voxflate evaluate {other} --snapshot newest" in line
    voxflate("compare", other, "--snapshot", 0.004)


def test_an_audit_draws_the_volumes_that_are_generated(home: Path, run: Path, tmp_path: Path) -> None:
    for truncation in (1, 0.5):
        how = ("--seed", 3, "--truncation", truncation)
        out = tmp_path / f"audit-{truncation}"
        shown = voxflate("audit", run, *how, "--out", out, "--allow", 1, "--set", "evaluation.samples=5")
        assert f"sample k is volume k of voxflate generate --seed 3 --truncation {truncation}; " in shown
        made, checked = tmp_path / f"volumes-{truncation}", tmp_path / f"checked-{truncation}"
        voxflate("generate", run, *how, "-n", 5, "--out", made)
        files = ("--data", home / "set", "--out", checked, "--set", "evaluation.extractor=random")
        voxflate("audit", made, *files, "--allow", 1)
        ours, theirs = (
            [(one["neighbour"], one["correlation"]) for one in written(folder, "audit.json")["samples"]]
            for folder in (out, checked)
        )
        assert [neighbour for neighbour, _ in ours] == [neighbour for neighbour, _ in theirs]
        assert [r for _, r in ours] == pytest.approx([r for _, r in theirs], abs=1e-3)


def test_the_command_after_an_audit_measures_the_same_volumes(run: Path) -> None:
    shown = voxflate(
        "audit", run, "--snapshot", 0.004, "--seed", 3, "--truncation", 0.5, "--allow", 1, *SMALL
    )
    assert "generate --seed 3 --truncation 0.5 --snapshot 0.004; " in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("to see the pairs side by side")]
    given = shlex.split(line.partition("voxflate ")[2])
    assert "--allow" not in given
    shown = voxflate(*given, "--replicates", 0, "--no-tsne")
    assert len(list((run / "evaluation").glob("*/metrics.json"))) == 1
    assert "belongs to other volumes" not in (evaluation(run) / "report.html").read_text()
    assert "flagged" in (evaluation(run) / "report.html").read_text()


def test_the_best_snapshot_warns_about_its_held_out_kid(run: Path) -> None:
    best = images_of(best_snapshot(run)) / 1000
    other = ({0.004, 0.008} - {best}).pop()
    for snapshot, warns in (("best", True), (best, True), ("newest", False), (other, False)):
        voxflate("evaluate", run, "--snapshot", snapshot, *QUICK)
        assert (CHOSEN_BY_KID in " ".join(voxflate("compare", run).split())) is warns


def test_people_who_were_seen_in_2d_are_not_called_held_out_without_a_word(home: Path, run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    started = {"n_images": 8, "data": "0" * 64, "weights_sha256": "0" * 64, "held_out_seen_in_2d": 2}
    (run / "run.json").write_text(json.dumps({**facts, "started_from": started}))
    remark = "was trained on 2 of the people held out from the 3D run"
    voxflate("evaluate", run, *QUICK)
    assert any(remark in text for text in warnings_of(run))
    assert remark in " ".join(voxflate("audit", run, "--allow", 1).split())
    assert remark in written(evaluation(run), "audit.json")["stages"]
    assert remark in (evaluation(run) / "report.html").read_text()
    voxflate("export", run, "--to", "hub", "--out", run.parent / "hub")
    card = (run.parent / "hub" / "README.md").read_text()
    assert f"held out for the evaluation. But its 2D run {remark}" in card
    a_set(run.parent / "others", 15, 5)
    elsewhere = ("--data", run.parent / "others", "--other-data", "--out", run.parent / "elsewhere")
    voxflate("evaluate", run, *QUICK, *elsewhere)
    assert remark not in (run.parent / "elsewhere" / "metrics.json").read_text()


def test_the_slice_discriminator_s_own_network_warns_about_its_metrics(home: Path, tmp_path: Path) -> None:
    run, warned = tmp_path / "run", "mobilenetv2: the run's slice discriminator learned from features of this"
    slices = ("--set", "slice_discriminator.weight=1", "--set", "slice_discriminator.features=mobilenetv2")
    voxflate("train", home / "set", "--out", run, *SET, *slices, "--set", "training.kimg=0.004")
    voxflate("evaluate", run, *QUICK, "--extractor", "mobilenetv2", "--extractor", "random")
    assert [text for text in warnings_of(run) if warned in text] == [
        f"{warned} network, so its metrics flatter the run; judge it by another --extractor"
    ]
    voxflate("evaluate", run, *QUICK, "--extractor", "random")
    assert not any(warned in text for text in warnings_of(run))
    voxflate("evaluate", home / "run", *QUICK, "--extractor", "mobilenetv2", "--out", tmp_path / "without")
    assert warned not in (tmp_path / "without" / "metrics.json").read_text()


def test_the_floor_s_halves_are_those_of_people(tmp_path: Path) -> None:
    """5 people with 17 scans: of the halvings' mean, not half of the scans."""
    run = tmp_path / "run"
    a_set(tmp_path / "set", 12, 5, subjects=5)
    voxflate("train", tmp_path / "set", "--out", run, *SET, "--set", "evaluation.every=1")
    voxflate("evaluate", run, *QUICK)
    for page in (run / "report.html", evaluation(run) / "report.html"):
        assert "10 real volumes with the 7 others" in " ".join(page.read_text().split())


def test_a_run_that_has_trained_since_is_named(run: Path) -> None:
    voxflate("evaluate", run, *QUICK)
    assert "trained to" not in voxflate("compare", run)
    voxflate("train", "--out", run, "--resume", "--set", "training.kimg=0.012")
    shown = " ".join(voxflate("compare", run).split())
    assert "Warning: run was evaluated after 0.008 kimg and has since been trained to 0.012 kimg" in shown


def test_a_report_leaves_out_the_audit_of_another_snapshot(run: Path) -> None:
    named = ("--out", run / "named")
    voxflate("audit", run, "--snapshot", 0.004, "--allow", 1, *named)
    voxflate("evaluate", run, *QUICK, *named)
    page = " ".join((run / "named" / "report.html").read_text().split())
    assert "the audit in its folder belongs to another snapshot, after 0.004 kimg, and is left out" in page
    assert "generated volumes (" not in page
    assert "the evaluated snapshot, 0.008 kimg" in page
    voxflate("audit", run, "--snapshot", 0.004, "--allow", 1)
    voxflate("evaluate", run, *QUICK)
    voxflate("audit", run, "--allow", 1)
    page = " ".join((evaluation(run) / "report.html").read_text().split())
    assert "another snapshot" not in page
    assert "generated volumes (" in page


def test_an_export_is_measured_outside_itself(home: Path, run: Path, tmp_path: Path) -> None:
    export, data, out = home / "export", home / "set", tmp_path / "checked"
    before = sorted(export.iterdir())
    for command in ("evaluate", "audit"):
        assert "--data FOLDER" in voxflate(command, export, "--out", out, status=2)
        assert "--out FOLDER" in voxflate(command, export, "--data", data, status=2)
        inside = export / "evaluation"
        assert "--out FOLDER" in voxflate(command, export, "--data", data, "--out", inside, status=2)
    settings = ("--set", "evaluation.samples=12", "--set", "evaluation.extractor=random")
    voxflate("audit", export, "--data", data, "--out", out, "--allow", 1, *settings)
    voxflate("evaluate", export, "--data", data, "--out", out, *QUICK, *settings)
    assert sorted(export.iterdir()) == before
    voxflate("evaluate", run, "--snapshot", 0.004, *QUICK)
    ours, theirs = (json.loads((f / "metrics.json").read_text()) for f in (evaluation(run), out))
    assert ours["facts"]["generator_sha256"] == theirs["facts"]["generator_sha256"]
    assert {name: each["value"] for name, each in ours["metrics"].items()} == pytest.approx(
        {name: each["value"] for name, each in theirs["metrics"].items()}, rel=1e-4
    )
    assert (out / "report.html").is_file()
    shown = voxflate("compare", run, out, "--out", tmp_path / "comparison")
    assert "export after 0.004 kimg (0.004), weights " in " ".join(shown.split())
    assert "--data FOLDER" in voxflate("compare", out, "--out", tmp_path / "alone", status=2)
    voxflate("compare", out, "--out", tmp_path / "alone", "--data", data, "--snapshot", 0.004)
    assert "not the snapshot 9" in voxflate("compare", out, "--snapshot", 9, status=2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set of the same shape that no run has seen."""
    return a_set(tmp_path_factory.mktemp("other") / "set", 12, 4).root


def hashes(*folders: Path) -> list[str]:
    return [json.loads((folder / "manifest.json").read_text())["content_sha256"][:12] for folder in folders]


@pytest.mark.parametrize("command", ["evaluate", "audit", "generate", "export"])
@pytest.mark.parametrize("kind", ["run", "export"])
def test_every_command_refuses_other_data_in_one_line(
    command: str, kind: str, home: Path, other: Path, tmp_path: Path
) -> None:
    source = home / kind
    line = voxflate(command, source, "--out", tmp_path / "out", "--data", other, status=2)
    assert len(line.splitlines()) == 1
    assert f"{other}: is not the data that {source} was trained on" in line
    new, known = hashes(other, home / "set")
    assert f"(sha256 {new}, was {known}); give its folder with --data FOLDER" in line
    assert ("or continue with --other-data" in line) == (command != "export")  # which has no such option
    assert not (tmp_path / "out").exists()


def test_other_data_is_said_by_every_file_of_an_evaluation(
    run: Path, home: Path, other: Path, tmp_path: Path
) -> None:
    said = f"{other}: is not the data that {run} was trained on"
    allowed = ("--data", other, "--other-data")
    shown = voxflate("audit", run, *allowed, "--allow", 1, "--set", "evaluation.samples=13")
    assert f"warning: {said}" in shown
    shown = voxflate("evaluate", run, *allowed, *QUICK)
    assert f"warning: {said}" in shown
    assert written(evaluation(run), "audit.json")["n-generated"] == 13
    assert written(evaluation(run), "metrics.json")["n-generated"] == 16  # as many as that set has
    folder = evaluation(run)
    for name in ("metrics.json", "audit.json"):
        facts = written(folder, name)
        assert facts["other_data"].startswith(said)
        assert facts["data"] != facts["trained_on"]
    for name in ("metrics.json", "audit.json", "report.html"):
        assert said in (folder / name).read_text(), name
    for name in TABLES:  # papers have them: they do not name the user's folders
        text = (folder / name).read_text()
        assert f"Warning: {without_folders(said)}" in text, name
        assert str(run) not in text, name
        assert str(other) not in text, name
    assert "copies of its training data are not found" in (folder / "report.html").read_text()
    line = voxflate("compare", run, "--out", tmp_path / "page", "--data", other, status=2)
    assert f"{folder}: was measured with other data than {run} was trained on (sha256 " in line
    shown = " ".join(voxflate("compare", run, "--out", tmp_path / "page", *allowed).split())
    assert f"Warning: {said}" in shown
    assert said in (tmp_path / "page" / "report.html").read_text()
    for name in TABLES:
        text = (tmp_path / "page" / name).read_text()
        assert f"Warning: {without_folders(said)}" in text, name
        assert str(run) not in text, name
        assert str(other) not in text, name


def test_compare_shows_other_volumes_only_if_allowed(run: Path, other: Path, tmp_path: Path) -> None:
    voxflate("evaluate", run, *QUICK)
    page = tmp_path / "page"
    line = voxflate("compare", run, "--out", page, "--data", other, status=2)
    assert f"{other}: is not the data that {evaluation(run)} was measured with" in line
    assert not page.exists()
    voxflate("compare", run, "--out", page, "--data", other, "--other-data")
    assert f"{other}: is not the data that" in (page / "report.html").read_text()
    for name in TABLES:
        text = (page / name).read_text()
        assert (
            f"Warning: {other.name}: is not the data that {evaluation(run).name} was measured with" in text
        ), name


def test_other_data_is_said_by_generated_volumes(home: Path, other: Path, tmp_path: Path) -> None:
    made = ("-n", 1, "--data", other, "--other-data")
    for kind in ("nifti", "dicom"):
        shown = voxflate("generate", home / "run", "--out", tmp_path / kind, "--format", kind, *made)
        assert f"warning: {other}: is not the data that" in shown
        facts = written(tmp_path / kind, "generation.json")
        assert facts["other_data"].startswith(f"{other.name}: is not the data that run was trained on")
        assert [facts["data"][:12], facts["trained_on"][:12]] == hashes(other, home / "set")
    header = nib.load(tmp_path / "nifti" / "sample-0000.nii.gz").header
    assert header["descrip"].item().decode() == f"{SYNTHETIC}; on other data"
    one = pydicom.dcmread(tmp_path / "dicom" / "sample-0000" / "0001.dcm")
    assert one.DerivationDescription.endswith("; on other data")
    voxflate("generate", home / "run", "--out", tmp_path / "same", "-n", 1, "--data", home / "set")
    assert "other_data" not in written(tmp_path / "same", "generation.json")


def test_the_api_refuses_other_data_or_says_so(home: Path, other: Path, tmp_path: Path) -> None:
    with pytest.raises(VoxflateError, match="is not the data that"):
        load(home / "run", data=other)
    with pytest.warns(UserWarning, match="is not the data that"):
        generator = load(home / "run", data=other, other_data=True)
    volumes = pickle.loads(pickle.dumps(generator.sample(2)))
    for number, chosen in enumerate((volumes[0], volumes[:1].copy())):
        (path,) = chosen.save(tmp_path / f"{number}.nii")
        assert nib.load(path).header["descrip"].item().decode().endswith("; on other data")


def test_volumes_measured_in_a_run_s_folder_are_no_snapshot_of_it(run: Path) -> None:
    theirs = run / "evaluation" / "001-theirs"
    theirs.mkdir(parents=True)
    (theirs / "metrics.json").write_text(json.dumps({"facts": {"source": "volumes", "n_images": None}}))
    voxflate("evaluate", run, *QUICK)
    assert evaluation(run).name == "002-newest"


def test_several_runs_do_not_share_a_folder(home: Path, tmp_path: Path) -> None:
    line = voxflate("evaluate", home / "run", home / "run", "--out", tmp_path / "out", status=2)
    assert "works for one run only, got 2" in line
