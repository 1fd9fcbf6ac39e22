"""What a report shows of sets of several channels."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from tests.strategies import OF_PAIRS, PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import write_json
from voxflate.data.channels import mask_classes
from voxflate.evaluation import SuiteSettings
from voxflate.reports import page
from voxflate.reports.evaluated import report_evaluations
from voxflate.reports.evaluations import AUDIT, AUDIT_PAIRS, SAMPLES, Place, load_evaluated
from voxflate.reports.measure import Sampling, evaluate_source
from voxflate.reports.page import number_text
from voxflate.reports.parts import Extras
from voxflate.reports.places import place_for
from voxflate.reports.shown import audit_section, volume_sets
from voxflate.runs.load import open_source
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", layout=PAIRS)


def test_every_modality_has_a_set_with_the_masks_over_it(prepared, tmp_path):
    volumes = prepared.volumes("train")
    np.savez(tmp_path / SAMPLES, volumes=volumes[:2])
    sets = volume_sets([Place(tmp_path, None)], ["run"], prepared, volumes[1:4])
    assert [each.label for each in sets] == ["run, t1", "run, t2", "real, t1", "real, t2"]
    assert len({each.id for each in sets}) == 4
    assert Extras(volumes=sets).real_set == 2
    for number, each in enumerate(sets):
        of = volumes[:2] if number < 2 else volumes[1:4]
        np.testing.assert_array_equal(each.volumes, of[:, number % 2])
        np.testing.assert_array_equal(each.classes, mask_classes(of, PAIRS, 3))
        assert len(each.names) == len(of)


@pytest.fixture(scope="module")
def pairs_run(prepared, tmp_path_factory):
    """A run on pairs, measured at its snapshots and evaluated."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train_run(run_config(prepared, evaluation__every=1, training__kimg=0.008, **OF_PAIRS), run)
    source = open_source(run, scans=True)
    place = place_for(source, None, "newest")
    evaluate_source(source, place, SuiteSettings(("random",), "none", replicates=0), Sampling())
    return place


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "older"])
def test_the_diversity_of_snapshots_is_drawn_beside_their_own_floor(
    pairs_run, tmp_path, monkeypatch, recorded
):
    """Snapshots compare all channels, an evaluation the first image."""
    run = shutil.copytree(pairs_run.run, tmp_path / "run")
    place = Place(run / pairs_run.folder.relative_to(pairs_run.run), run)
    rows = read_rows(run / METRICS_NAME)
    if not recorded:
        rows = [{key: row[key] for key in row if key != "real-pairwise-l2"} for row in rows]
        (run / METRICS_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = {}
    monkeypatch.setattr(
        page, "curves", lambda series, path, label, floor, log: drawn.update({label: floor}) or svg(path)
    )
    report_evaluations([place], tmp_path / "out", embed=False)
    of_images = load_evaluated(place).assessment.metrics["pairwise-l2"].real
    assert drawn["mean L2 distance of pairs"] == (rows[-1]["real-pairwise-l2"] if recorded else None)
    assert drawn["mean L2 distance of pairs"] != pytest.approx(of_images)
    assert f"<td>{number_text(of_images)}</td>" in (tmp_path / "out" / "report.html").read_text()


def svg(path):
    path.write_text("<svg></svg>")


def test_an_audit_of_other_samples_is_shown_with_what_differs(prepared, tmp_path):
    facts = {
        "n-generated": 4,
        "n-null": 5,
        "n-heldout": 1,
        "flagged-share": 0.0,
        "samples": [],
        "flagged": {},
    }
    run = SimpleNamespace(label="run", assessment=SimpleNamespace(facts={"truncation": 1.0, "seed": 0}))

    def said(**audit):
        write_json(tmp_path / AUDIT, facts | audit)
        return audit_section([Place(tmp_path, None)], [run], prepared).summary

    same = said(truncation=1.0, seed=0)
    assert same == said()  # earlier versions did not write them
    assert said(truncation=0.5, seed=0) == (
        f"{same} These samples differ from those evaluated: truncation 0.5 (evaluated: 1)."
    )
    assert said(truncation=0.5, seed=7).endswith("truncation 0.5 (evaluated: 1), seed 7 (evaluated: 0).")


def test_an_audit_says_what_chance_and_other_data_mean(prepared, tmp_path):
    facts = {
        "n_images": 4, "n-generated": 4, "n-null": 5, "n-heldout": 1, "flagged-share": 0.0,
        "samples": [], "flagged": {},
    }  # fmt: skip
    run = SimpleNamespace(label="run", assessment=SimpleNamespace(facts={"n_images": 4}))

    def said(**audit):
        write_json(tmp_path / AUDIT, facts | audit)
        return audit_section([Place(tmp_path, None)], [run], prepared).summary

    ends = {"flagged-share-interval": [0.0, 0.6], "false-alarms-interval": [0.01, 0.1]}
    text = said(**ends, **{"false-alarms": 0.03}, verdict="unclear", remark="3 of 3 are one")
    assert "held out). That is not told apart from chance (95% interval 0.0% to 60.0%): of real" in text
    assert "the audit flags 3.0% (false alarms; 1.0% to 10.0%)." in text
    assert text.endswith("Warning: 3 of 3 are one.")
    other = {"other_data": "set: has other labels", "trained_on": "a"}
    assert said(**other, data="b").endswith("other labels: copies of its training data are not found.")
    assert said(**other, data="a").endswith("other labels: its volumes are the same.")
    assert "belongs to other volumes, and is left out" in said(n_images=None, volumes_sha256="c")


def test_an_audit_whose_pairs_were_deleted_is_shown_without_them(prepared, tmp_path):
    facts = {"n-generated": 4, "n-null": 5, "n-heldout": 1, "flagged-share": 0.5, "samples": []}
    write_json(tmp_path / AUDIT, {**facts, "flagged": {"0": []}})
    run = SimpleNamespace(label="run", assessment=SimpleNamespace(facts={}))
    section = audit_section([Place(tmp_path, None)], [run], prepared)
    assert section.summary.startswith("run: 1 of 4")
    assert section.volumes == []


def test_a_report_names_the_file_of_samples_that_is_gone(pairs_run, tmp_path):
    run = shutil.copytree(pairs_run.run, tmp_path / "run")
    place = Place(run / pairs_run.folder.relative_to(pairs_run.run), run)
    (place.folder / SAMPLES).unlink()
    with pytest.raises(VoxflateError, match=r"samples\.npz: no such file, .*; evaluate again"):
        report_evaluations([place], tmp_path / "out", embed=False)


@pytest.mark.parametrize("earlier", [False, True], ids=["all-channels", "first-image"])
def test_flagged_pairs_are_shown_with_their_masks(prepared, tmp_path, earlier):
    volumes = prepared.volumes("train")
    pairs = np.stack([volumes[:2], volumes[1:3]], axis=1)
    np.savez(tmp_path / AUDIT_PAIRS, numbers=[0, 3], pairs=pairs[:, :, 0] if earlier else pairs)
    near = {"subject": "subject-1", "correlation": 0.9}
    facts = {"n-generated": 4, "n-null": 5, "n-heldout": 1, "flagged-share": 0.5}
    write_json(tmp_path / AUDIT, {**facts, "flagged": {"0": [], "3": []}, "samples": [near] * 4})
    run = SimpleNamespace(label="run", assessment=SimpleNamespace(facts={}))
    section = audit_section([Place(tmp_path, None)], [run], prepared)
    found = [each.label for each in section.volumes]
    if earlier:
        assert found == ["run: flagged", "nearest training volume"]
        assert all(each.classes is None for each in section.volumes)
        return
    assert found == [
        "run: flagged, t1",
        "nearest training volume, t1",
        "run: flagged, t2",
        "nearest training volume, t2",
    ]
    for number, each in enumerate(section.volumes):
        of = pairs[:, number % 2]
        np.testing.assert_array_equal(each.volumes, of[:, number // 2])
        np.testing.assert_array_equal(each.classes, mask_classes(of, PAIRS, 3))
        assert "classes" in json.loads(each.json)
