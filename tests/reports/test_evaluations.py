"""Evaluated runs: metrics.json, tables, and a report that is opened in a real browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.browsers import chromium, requests_of
from tests.evaluation.test_suite import a_set
from voxflate.cli import app
from voxflate.config.paper_rows import PAPER_ROWS, PaperRow
from voxflate.reports.evaluated import load_all
from voxflate.reports.evaluations import (
    AUDIT,
    METRICS,
    Place,
    described,
    evaluations_of,
    load_evaluated,
    new_folder,
    place_of,
    prepared_of,
)
from voxflate.reports.latex import latex
from voxflate.reports.markdown import markdown
from voxflate.reports.notes import notes
from voxflate.reports.parts import VolumeSet
from voxflate.reports.places import reserved
from voxflate.reports.rows import EvaluatedRun, grouped, separated
from voxflate.reports.shown import audit_section
from voxflate.reports.tables import BUDGET, DASH, beside, table

SMALL = ["network.channels=8", "network.base=1,2,2", "network.stages=3"]
SETTINGS = [
    *SMALL, "training.batch=4", "training.precision=fp32", "training.kimg=0.008",
    "training.snapshot_kimg=0.004", "evaluation.samples=12", "evaluation.extractor=random",
]  # fmt: skip
SET = [word for setting in SETTINGS for word in ("--set", setting)]


def evaluation(run: Path) -> Path:
    """The folder of a run's newest evaluation."""
    return evaluations_of(run)[-1]


def voxflate(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny 3D runs, one of a preset, evaluated; the first one is audited."""
    folder = tmp_path_factory.mktemp("runs")
    a_set(folder / "set", 16, 4)
    found = []
    for name, preset in (("base", ("--preset", "coca64-baseline@bench")), ("split", ())):
        voxflate("train", folder / "set", "--out", folder / name, *preset, *SET)
        found.append(folder / name)
    voxflate("evaluate", *found, "--replicates", 10, "--volume-extractor", "random3d", "--no-tsne")
    voxflate("audit", found[0], "--allow", 1)
    return found


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Path:
    out = runs[0].parent / "comparison"
    shown = voxflate("compare", *runs, "--out", out)
    assert "real vs real" in shown
    assert "MS-SSIM" in shown
    assert "Table 6: 3D-StyleGAN2" in shown
    assert "Split&Shuffle" not in shown  # our own settings with its architecture are not the paper's
    return out / "report.html"


def test_metrics_json_says_what_a_figure_depends_on(runs: list[Path]) -> None:
    content = json.loads((evaluation(runs[0]) / "metrics.json").read_text())
    facts = content["facts"]
    assert facts["n-generated"] == 12
    assert facts["n-real"] == 20
    assert facts["n_images"] == 8
    assert facts["parameters"] > 1000
    assert len(facts["extractors"][0]["weights-sha256"]) == 64
    assert content["metrics"]["kid-random-avg"]["error"] > 0


def test_tables_have_the_floor_the_run_and_the_paper(runs: list[Path], report: Path) -> None:
    table = (report.parent / "table.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    ours = ["Model", "real vs real", "base", "split"]
    assert rows == [*ours, "Table 6: 3D-StyleGAN2", *ours]
    assert "12 generated and 20 real volumes" in table
    assert "Warning" in table
    tex = (report.parent / "table.tex").read_text()
    first, second = (part[part.index("\\toprule") :] for part in tex.split("\\begin{table}")[1:])
    heads = [line for line in table.splitlines() if line.startswith("| Model")]
    assert first.count(" & ") == 5 * (heads[0].count("|") - 2)
    assert second.count(" & ") == 4 * (heads[1].count("|") - 2 - len(BUDGET))
    assert "\\#param" in first
    tables = separated(grouped([load_evaluated(place_of(run)) for run in runs]))
    assert markdown(tables) == table
    assert latex(tables) == tex


def test_audits_are_beside_the_metrics_unless_their_truncation_is_another(
    runs: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    path = evaluation(run) / "audit.json"
    audit = json.loads(path.read_text())
    path.write_text(json.dumps({**audit, "flagged": {"0": ["lead"]}, "false-alarms": 0.25}))
    headings, (floor, ours) = beside(grouped([load_evaluated(place_of(run))]))
    place = headings.index("flagged")
    assert (floor[place], ours[place]) == ("25.0%", "8.3%")
    path.write_text(json.dumps({**audit, "truncation": 0.5}))
    assert beside(grouped([load_evaluated(place_of(run))]))[1][1][place] == DASH
    later = run / "evaluation" / "002-newest"
    later.mkdir()
    shutil.copy(path.parent / "audit-pairs.npz", later)
    for number in range(2):  # an audit in another folder counts, and the newest one that fits
        flagged = {"0": ["lead"]} if number else {}
        content = {**audit, "flagged": flagged, "n-generated": 10}
        target = later if number else path.parent
        (target / "audit.json").write_text(json.dumps(content | {"truncation": 1.0 if number else 0.5}))
    evaluated = load_evaluated(where := place_of(run))
    assert beside(grouped([evaluated]))[1][1][place] == "10.0%"
    section = audit_section([where], [evaluated], prepared_of(where)[0])
    assert section is not None
    assert section.summary.startswith("run: 1 of 10 generated volumes")
    assert "differ from those evaluated" not in section.summary


def test_compare_names_the_evaluation_and_refuses_it_twice(runs: list[Path], tmp_path: Path) -> None:
    assert "Evaluations:" not in voxflate("compare", runs[0])  # it is the only one
    folder = evaluation(runs[0])
    line = voxflate("compare", runs[0], "--group", f"row={folder}", status=2)
    assert f"{folder}: is given twice, as {runs[0]} and as {folder}; name it once" in line
    assert "is given twice; name it once" in voxflate("compare", runs[0], runs[0], status=2)
    facts = load_evaluated(place_of(runs[0])).facts
    later = tmp_path / "run" / "evaluation" / "002-newest"
    shutil.copytree(runs[0], tmp_path / "run")
    shutil.copytree(tmp_path / "run" / "evaluation" / "001-newest", later)
    assert described(later, facts) == "002-newest (the newest of 2), 12 volumes, truncation 1"
    assert described(later.parent / "001-newest", facts) == "001-newest, 12 volumes, truncation 1"
    assert described(evaluation(runs[0]), facts) == described(tmp_path, facts) == ""
    shown = " ".join(voxflate("compare", tmp_path / "run").split())
    assert "Evaluations: run: 002-newest (the newest of 2), 12 volumes, truncation 1." in shown


def test_an_audit_over_the_allowed_share_ends_with_status_3(runs: list[Path], monkeypatch: Any) -> None:
    from voxflate.evaluation import audit as module

    monkeypatch.setattr(module, "flags", lambda near, thresholds: ("correlation",))
    shown = voxflate("audit", runs[1], "--allow", 0.5, status=3)
    assert "12 of 12 generated volumes flagged" in shown
    assert "are allowed" in shown
    page = (evaluation(runs[1]) / "report.html").read_text()
    assert 'id="audit-generated"' in page


def test_a_run_that_was_not_evaluated_is_one_line(runs: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run, ignore=shutil.ignore_patterns("evaluation"))
    assert "voxflate evaluate" in voxflate("compare", run, status=2)


def test_samples_that_are_no_numbers_end_with_one_line(runs: list[Path], tmp_path: Path) -> None:
    from voxflate.runs.snapshots import load_newest, save_snapshot

    run = tmp_path / "run"
    shutil.copytree(runs[0], run, ignore=shutil.ignore_patterns("evaluation"))
    state, _ = load_newest(run)
    for value in state["ema"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    save_snapshot(run, state, keep=1)
    assert "NaN" in voxflate("evaluate", run, status=2)
    assert not (run / "evaluation").exists()


def test_a_training_ends_with_its_metrics_and_a_report(tmp_path: Path) -> None:
    a_set(tmp_path / "set", 16, 4)
    named = [setting for setting in SETTINGS if not setting.startswith("evaluation.samples")]
    few = [word for setting in named for word in ("--set", setting)]
    shown = " ".join(voxflate("train", tmp_path / "set", "--out", tmp_path / "run", *few).split())
    assert "after 0.008 kimg, 20 generated against 20 real: frechet-random-avg " in shown  # equal numbers
    assert "best snapshot by the distance (KID) to held-out volumes: after " in shown
    assert f"report: {tmp_path / 'run' / 'report.html'}" in shown
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Over training" in page
    assert "samples = 20" in (tmp_path / "run" / "config.toml").read_text()
    measured = "evaluation.every=0"
    shown = voxflate("train", tmp_path / "set", "--out", tmp_path / "blind", *SET, "--set", measured)
    assert "report:" not in shown
    assert "samples: " in shown


def test_evaluations_are_kept_and_every_one_can_be_named(runs: list[Path]) -> None:
    first = evaluation(runs[1])
    before = {path: path.read_bytes() for path in first.iterdir()}
    voxflate("evaluate", runs[1], "--replicates", 0, "--volume-extractor", "none", "--no-tsne", "--seed", 3)
    second = evaluation(runs[1])
    assert second != first
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    shown = voxflate("compare", first, second)
    assert f"split ({first.name})" in shown
    assert f"split ({second.name})" in shown


def test_two_commands_at_once_do_not_share_a_folder(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[1], tmp_path / "run")
    known = evaluations_of(run)
    place = Place(new_folder(run, "newest", METRICS), run)  # both commands have chosen the same one
    with reserved(place, METRICS) as first, reserved(place, METRICS) as second:
        assert first.folder == place.folder
        assert second.folder != first.folder
        assert new_folder(run, "newest", METRICS) not in (first.folder, second.folder)
        assert evaluations_of(run) == known
        (second.folder / METRICS).touch()
    assert not first.folder.exists()
    assert evaluations_of(run) == [*known, second.folder]
    shared = Place(known[-1], run)
    with reserved(shared, AUDIT) as beside, reserved(shared, AUDIT) as another:
        assert beside == shared
        assert another.folder not in known
    assert known[-1].is_dir()


def test_what_has_no_evaluation_says_why_and_a_next_step_that_works(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[1], tmp_path / "run")
    assert place_of(run / "evaluation") == place_of(run)
    (run / "evaluation" / "007-newest").mkdir()
    voxflate("export", run, "--out", tmp_path / "export")
    (tmp_path / "export" / METRICS).unlink(missing_ok=True)
    for name, why in {
        "nosuch": "no such folder; name an evaluated run",
        "run/evaluation/007-newest": "has no metrics.json; name an evaluated run",
        "export": "is an export; name the folder of its evaluation, which voxflate evaluate ",
    }.items():
        assert f"{tmp_path / name}: {why}" in voxflate("compare", tmp_path / name, status=2)
    shutil.rmtree(run / "evaluation")
    assert f"{run}: was not evaluated; run: voxflate evaluate {run}" in voxflate("compare", run, status=2)


def test_labels_are_unique(runs: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(runs[0], tmp_path / parent / "run") for parent in ("a", "b")]
    assert [each.label for each in load_all([place_of(run) for run in copies])] == ["a/run", "b/run"]


def test_an_export_keeps_its_name_whatever_the_folder_of_its_evaluation(
    runs: list[Path], tmp_path: Path
) -> None:
    export, out = tmp_path / "small-brains", tmp_path / "results"
    voxflate("export", runs[0], "--out", export)
    fast = ("--replicates", 0, "--volume-extractor", "none", "--no-tsne")
    voxflate("evaluate", export, "--data", runs[0].parent / "set", "--out", out, *fast)
    assert "| small-brains |" in (out / "table.md").read_text()
    assert load_evaluated(place_of(out)).label == "small-brains"


def test_a_row_of_the_paper_is_printed_once_for_many_seeds(runs: list[Path]) -> None:
    def names(paper: PaperRow | None, *wanted: PaperRow) -> list[str]:
        seeds = [EvaluatedRun(f"seed {seed}", 1, assessment, paper) for seed in range(3)]
        about = "paper" in " ".join(notes(grouped(seeds), wanted))
        found = [row[0] for row in table(grouped(seeds), wanted)[1]][1:]
        assert found[:3] == ["seed 0", "seed 1", "seed 2"]
        assert about == bool(found[3:])
        return found[3:]

    assessment = load_evaluated(place_of(runs[0])).assessment
    row, other = PAPER_ROWS["adni64-split-shuffle-inflate-1"], PAPER_ROWS["coca64-group-d"]
    assert names(row) == names(row, row) == names(None, row) == ["Table 7: Split&Shuffle (Ours)"]
    assert names(row, other)[1:] == ["Table 3: Group-D"]
    assert names(None) == []
    printed = table(grouped([EvaluatedRun("a", 1, assessment)]), [row])[1][-1]
    assert [*printed[2:7], printed[-2]] == ["0.325M", "65.0", "67.0", "82.0", "71.3", DASH]


def test_other_rows_of_the_paper_are_printed_on_request(runs: list[Path], tmp_path: Path) -> None:
    shown = voxflate("compare", runs[1])
    assert "Table" not in shown
    wanted = ("--paper", "coca64-alpha-gan", "--paper", "adni64-baseline@bench")
    shown = voxflate("compare", runs[1], *wanted, "--out", tmp_path, "--no-tsne")
    assert "Table 6: 3D-alpha-GAN" in shown
    assert "Table 7: 3D-StyleGAN2" in shown
    for name in ("table.md", "table.tex", "report.html"):
        assert "Table 6: 3D-alpha-GAN" in (tmp_path / name).read_text()
    assert "did you mean coca64-alpha-gan" in voxflate("compare", runs[1], "--paper", "alpha-gan", status=2)


def test_volumes_of_the_page_are_bytes_that_cannot_end_the_script() -> None:
    volumes = np.linspace(-1, 1, 16).reshape(2, 2, 2, 2)
    content = VolumeSet("a", volumes, ["</script>", "b"], (1, 1, 1), "id").json
    assert "</" not in content
    assert json.loads(content)["names"][0] == "</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium("--disable-gpu") as found:
        yield found


def pixels(browser: Any, canvas: Any) -> str:
    return str(browser.execute_script("return arguments[0].toDataURL()", canvas))


def test_the_report_in_a_real_browser(report: Path, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(report.as_uri())
    look = browser.find_element(By.CSS_SELECTOR, "#look .viewer")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", look)
    for plane, depth in (("axial", 4), ("coronal", 8), ("sagittal", 8)):
        canvas = look.find_element(By.CSS_SELECTOR, f'canvas[data-plane="{plane}"]')
        place = canvas.find_element(By.XPATH, "./following-sibling::span")
        canvas.send_keys(Keys.HOME)
        seen = set()
        for number in range(1, depth + 1):  # through every slice with the keyboard
            assert place.text == f"{plane} {number} / {depth}"
            seen.add(pixels(browser, canvas))
            canvas.send_keys(Keys.ARROW_UP)
        assert len(seen) > depth // 2
        assert place.text == f"{plane} {depth} / {depth}"
        ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 100).perform()
        assert place.text == f"{plane} {depth - 1} / {depth}"
    axial = look.find_element(By.CSS_SELECTOR, 'canvas[data-plane="axial"]')
    name = look.find_element(By.CSS_SELECTOR, ".name")
    before = name.text
    axial.send_keys(Keys.ARROW_RIGHT)
    assert name.text != before
    sagittal = look.find_element(By.CSS_SELECTOR, 'canvas[data-plane="sagittal"]')
    ActionChains(browser).move_to_element_with_offset(
        axial, -axial.size["width"] // 2 + 3, 0
    ).click().perform()
    assert sagittal.find_element(By.XPATH, "./following-sibling::span").text == "sagittal 1 / 8"

    assert browser.get_log("browser") == []
    requests = requests_of(browser)
    assert report.as_uri() in requests
    assert all(url.startswith("data:") or url == report.as_uri() for url in requests)


def test_masks_lie_over_the_slices_and_can_be_switched_off(
    report: Path, browser: Any, tmp_path: Path
) -> None:
    """The viewer of a report, told that the boxes in the middle are of class 2."""
    values = np.linspace(-1, 1, 4 * 8 * 8, dtype=np.float32).reshape(1, 4, 8, 8)
    classes = np.zeros((1, 4, 8, 8), np.int64)
    classes[:, 1:3, 2:5, 2:5] = 2
    told = str(VolumeSet("pairs", values, ["sample 0"], (1.0, 1.0, 1.0), "volumes-0", classes).json)
    start, end = '<script type="application/json" id="volumes-0">', "</script>"
    before, rest = report.read_text().split(start)
    page = tmp_path / "report.html"
    page.write_text(before + start + told + end + rest.partition(end)[2])
    browser.get(page.as_uri())
    look = browser.find_element("css selector", "#look .viewer")
    masks = look.find_elements("css selector", ".mask")
    assert [mask.is_displayed() for mask in masks] == [True, False]  # the real volumes have none
    address = look.find_element("css selector", 'canvas[data-plane="axial"]')
    seen = []
    for pressed in ("true", "false"):
        assert masks[0].get_attribute("aria-pressed") == pressed
        image = Image.open(io.BytesIO(base64.b64decode(pixels(browser, address).partition(",")[2])))
        seen.append(np.asarray(image.convert("RGB")).astype(int)[::-1])
        masks[0].click()
    grey = np.repeat(((values[0, 2] + 1) * 127.5)[..., None], 3, axis=2)
    inside = (classes[0, 2] > 0)[..., None]
    for shown, expected in zip(
        seen, (np.where(inside, 0.6 * grey + 0.4 * np.array([213, 94, 0]), grey), grey), strict=True
    ):
        np.testing.assert_allclose(shown[:4, :4], expected[:4, :4], atol=1.01)  # beside the cross


def test_the_report_fits_1300_pixels(report: Path, browser: Any) -> None:
    browser.get(report.as_uri())
    wide = browser.execute_script(
        "return [document.documentElement, ...document.querySelectorAll('.scroll')]"
        ".filter(each => each.scrollWidth > each.clientWidth).map(each => each.scrollWidth)"
    )
    assert browser.execute_script("return innerWidth") == 1300
    assert wide == []


def test_the_page_itself_forbids_requests(report: Path, browser: Any) -> None:
    browser.get(report.as_uri())
    answer = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('refused'))"
    )
    assert answer == "refused"
    assert "Content Security Policy" in str(browser.get_log("browser"))
