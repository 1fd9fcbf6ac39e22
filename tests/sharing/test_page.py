"""The page of a generator: its parts, its text, and what it does in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import lzma
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import voxflate
from tests.browsers import NO_WEBGL, WEBGL, chromium, requests_of
from tests.sharing.generators import OBLIQUE, an_export
from tests.strategies import ONE_CHANNEL, PAIRS
from voxflate.cli import app
from voxflate.data.channels import Channel, LabelColumn, Layout
from voxflate.runs.shipped import shipped
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share

ROOT = Path(__file__).parents[2]
WEB, PARTS = ROOT / "web", ROOT / "src" / "voxflate" / "sharing" / "web"
COUNTS = {"train": {"scans": 90, "subjects": 88}, "heldout": {"scans": 10, "subjects": 10}}
CLOSE = 1e-3
"""Largest difference between a voxel of the page and PyTorch's, in [-1, 1]."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_parts_are_made_of_the_sources_that_are_here() -> None:
    record = json.loads((PARTS / "made-of.json").read_text())
    files = [path for name in ("src", "licences") for path in sorted((WEB / name).iterdir())]
    files += [WEB / name for name in ("build.mjs", "package.json", "package-lock.json")]
    here = {path.relative_to(WEB).as_posix(): sha256(path.read_bytes()) for path in files}
    assert record["sources"] == here, "run: cd web && npm ci && npm run build"
    for name, expected in record["made"].items():
        assert sha256(lzma.decompress((PARTS / f"{name}.xz").read_bytes())) == expected, name
    assert sum(path.stat().st_size for path in PARTS.iterdir()) < 4e6


def test_every_package_is_pinned_and_its_licence_is_listed() -> None:
    package = json.loads((WEB / "package.json").read_text())
    wanted = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    licences = (PARTS / "licences.txt").read_text()
    for name in package["dependencies"]:
        assert f"{name} {lock[f'node_modules/{name}']['version']}: " in licences
    assert licences.count("THE SOFTWARE IS PROVIDED") >= 8
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = set(re.findall(r"^\S+ \d+\.\d+\.\d+: (\S+)$", licences, flags=re.MULTILINE))
    assert {"MIT", "ISC"} < listed <= set(project["license"].split(" AND "))
    assert "src/voxflate/sharing/web/licences.txt" in project["license-files"]


def a_page(folder: Path, **options: Any) -> tuple[Path, Path]:
    """An export, and its page."""
    export = an_export(folder / "generator", counts=COUNTS, **options)
    page = folder / "page.html"
    share(export, "html", page, Words("Brains <of> & all", "SomeData <https://x.org>", "CC BY 4.0"))
    return export, page


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return a_page(tmp_path_factory.mktemp("small"), stages=3)


def test_the_page_is_small_and_has_no_address_to_go_to(small: tuple[Path, Path]) -> None:
    page = small[1].read_text()
    assert len(page) < 10e6
    policy = page.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "http" not in policy
    assert "unsafe-inline" not in policy
    style = page.split("<style>")[1].split("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "<link" not in page
    assert not re.search(r'(src|href)="', page)


def test_the_page_says_what_is_known_and_what_is_not(small: tuple[Path, Path]) -> None:
    page = small[1].read_text()
    for text in (
        "Brains &lt;of&gt; &amp; all", "90 scans of 88 people", "10 scans of other people were", "CC BY 4.0",
        "Not audited", "Not evaluated", "It knows only the 88 people", "diagnose", "MIT License",
    ):  # fmt: skip
        assert text in page, text


def test_the_command_refuses_in_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    def shown(status: int, *arguments: object) -> str:
        result = CliRunner().invoke(app, ["export", *map(str, arguments)])
        assert result.exit_code == status, result.output
        return result.output

    export, page = small
    assert "give it as --out NAME.html" in shown(2, export, "--to", "html", "--out", tmp_path / "page")
    assert "already exists" in shown(2, export, "--to", "html", "--out", page)
    assert "choose one of folder, html" in shown(2, export, "--to", "pdf", "--out", tmp_path / "page")
    assert 'to = "html"' in shown(0, export, "--to", "html", "--out", tmp_path / "x.html", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert "open it in a browser" in shown(0, export, "--to", "html", "--out", tmp_path / "x.html")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two modalities, a mask of two classes, sex and age."""
    return a_page(tmp_path_factory.mktemp("pairs"), channels=8, layout=PAIRS)


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    """A browser without WebGL, where pages use their own viewer: much faster than WebGL without a GPU."""
    with chromium(*NO_WEBGL, downloads=downloads) as found:
        found.set_script_timeout(120)
        yield found


def opened(browser: Any, page: Path) -> None:
    """Open a page and wait for its first volume."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    waited(browser, "window.voxflate.ready")


def waited(browser: Any, promise: str) -> None:
    error = browser.execute_async_script(
        f"const done = arguments[0]; ({promise}).then(() => done(null), (e) => done(String(e)))"
    )
    assert error is None
    assert browser.find_element("id", "problem").text == ""


def changed(browser: Any, **state: Any) -> Any:
    """The volume after a change of the page's state, [D, H, W], or [C, D, H, W] of several channels."""
    waited(browser, f"window.voxflate.change({json.dumps(state)})")
    return volume(browser)


def volume(browser: Any) -> Any:
    found = browser.execute_script(
        "const bytes = new Uint8Array(window.voxflate.volume.buffer); let text = '';"
        "for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text)"
    )
    shape = browser.execute_script("return window.voxflate.description.shape")
    channels = np.frombuffer(base64.b64decode(found), np.float32).reshape(-1, *shape)
    return channels[0] if len(channels) == 1 else channels


def mask(browser: Any) -> Any:
    """The mask with the values of the source, [D, H, W]."""
    values = browser.execute_script("return Array.from(window.voxflate.mask)")
    shape = browser.execute_script("return window.voxflate.description.shape")
    return np.array(values).reshape(shape)


def check_quiet(browser: Any, page: Path) -> None:
    """No message in the console, and no request but for the page and what it holds itself."""
    assert browser.get_log("browser") == []
    asked = requests_of(browser)
    assert page.as_uri() in {address.partition("#")[0] for address in asked}
    assert all(address.startswith(("data:", "blob:", page.as_uri())) for address in asked)


def test_every_control_gives_what_python_gives(small: tuple[Path, Path], browser: Any) -> None:
    export, page = small
    generator = voxflate.load(export)
    opened(browser, page)
    np.testing.assert_allclose(
        volume(browser), generator.sample(1, truncation=0.7)[0], atol=CLOSE
    )  # subject 0
    found = changed(browser, first=123, psi=1)
    expected = generator.sample(1, first=123)[0]
    assert np.asarray(expected).std() > 0.1
    np.testing.assert_allclose(found, expected, atol=CLOSE)

    def click(selector: str) -> Any:
        element = browser.find_element("css selector", selector)
        browser.execute_script("arguments[0].click()", element)
        waited(browser, "window.voxflate.change({})")
        return volume(browser)

    fresh = click("[data-new=first]")
    number = int(browser.find_element("id", "first-number").get_property("value"))
    assert number != 123
    np.testing.assert_allclose(fresh, generator.sample(1, first=number)[0], atol=CLOSE)
    after = click("[data-step='1'][data-of=first]")
    np.testing.assert_allclose(after, generator.sample(1, first=number + 1)[0], atol=CLOSE)
    assert f"first={number + 1}" in browser.find_element("id", "python").text
    quiet = click("#noise")
    assert np.abs(quiet - after).max() > CLOSE
    np.testing.assert_array_equal(click("#noise"), after)
    check_quiet(browser, page)


def test_the_python_that_the_page_shows_makes_its_volume(
    small: tuple[Path, Path], browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, page = small
    (tmp_path / export.name).symlink_to(export)
    monkeypatch.chdir(tmp_path)
    opened(browser, page)
    for number, (noise, mode) in enumerate(itertools.product([True, False], ["one", "mix", "walk"])):
        levels = [False, True, True] if number % 2 else [True, False, False]
        here = changed(
            browser,
            first=10 + number,
            second=4,
            psi=0.85,
            noise=noise,
            mode=mode,
            levels=levels,
            position=0.35,
        )
        names: dict[str, Any] = {}
        exec(browser.find_element("id", "python").get_property("textContent"), names)
        np.testing.assert_allclose(here, names["scans"][0], atol=CLOSE)
    changed(browser, shown="average")
    exec(browser.find_element("id", "python").get_property("textContent"), names)
    average = browser.execute_async_script(
        "window.voxflate.average().then((found) => arguments[0](Array.from(found)))"
    )
    np.testing.assert_allclose(average, names["scans"].ravel(), atol=CLOSE)
    assert browser.find_element("id", "status").text == "Average"
    assert len(list(tmp_path.glob("*.nii.gz"))) == 7


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({"mode": "mix", "levels": [True, False]}, "mix-5-1-stages-0-variety-70-sex-F-age-50"),
        ({"mode": "mix", "levels": [False, True]}, "mix-5-1-stages-1-variety-70-sex-F-age-50"),
        ({"noise": False}, "subject-5-variety-70-sex-F-age-50-plain"),
        ({"labels": {"sex": "M", "age": -5}}, "subject-5-variety-70-sex-M-age--5"),
    ],
)
def test_volumes_that_differ_have_names_that_differ(
    pairs: tuple[Path, Path], browser: Any, state: dict[str, Any], name: str
) -> None:
    opened(browser, pairs[1])
    changed(browser, first=5, **state)
    assert f'"{name}.nii.gz"' in browser.find_element("id", "python").get_property("textContent")


def test_the_page_says_where_its_python_gets_the_generator(
    small: tuple[Path, Path], browser: Any, tmp_path: Path
) -> None:
    opened(browser, small[1])
    assert 'load("generator")' in browser.find_element("id", "python").get_property("textContent")
    needs = f"This needs Python 3.11 to 3.13 and voxflate {voxflate.__version__} "
    facts = browser.find_element("css selector", ".facts").text
    assert needs in facts
    assert "generator is the folder of this generator: ask its owner for it." in facts
    share(shipped()["brains-16"], "html", tmp_path / "page.html", Words())
    assert "<code>brains-16</code> comes with it." in (tmp_path / "page.html").read_text()


def test_a_control_works_before_the_generator_is_there(small: tuple[Path, Path], browser: Any) -> None:
    opened(browser, small[1])  # whose script is run once more with an early change
    page = small[1].read_text()
    assert page.count("ready: main()") == 1
    script = page.split('<script type="module">')[1].split("</script>")[0]
    early = script.replace("ready: main()", "ready: (main(), change({ first: 7 }))")
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script, early)]
    path = small[1].with_name("early.html")
    path.write_text(page.replace(script, early).replace(*digests))
    opened(browser, path)
    expected = voxflate.load(small[0]).sample(1, first=7, truncation=0.7)[0]
    np.testing.assert_allclose(volume(browser), expected, atol=CLOSE)
    browser.execute_script(
        "Object.assign(document.getElementById('problem'), { hidden: false, textContent: 'x' })"
    )
    changed(browser, first=8)
    assert not browser.find_element("id", "problem").is_displayed()


def test_changes_during_a_computation_do_not_mix(
    small: tuple[Path, Path], browser: Any, downloads: Path
) -> None:
    opened(browser, small[1])
    changed(browser, first=1)
    browser.execute_script("window.voxflate.change({ first: 2 })")
    got = saved(browser, downloads, "download", "subject-2-variety-70.nii.gz").get_fdata()
    changed(browser, first=2)
    again = saved(browser, downloads, "download", "subject-2-variety-70.nii.gz").get_fdata()
    np.testing.assert_array_equal(got, again)
    browser.execute_script(  # a second subject is asked for while the first one's code is made
        "const { change } = window.voxflate; change({ first: 777, position: 0.5 });"
        "(async () => { for (let i = 0; i < 9; i++) await null; change({ mode: 'walk' }); })()"
    )
    changed(browser)
    steps = browser.execute_async_script(
        """
        const ids = ["play", "position-value", "status"];
        const [play, ...shown] = ids.map((id) => document.getElementById(id));
        let steps = "";
        const watch = new MutationObserver((records) => {
          for (const { target } of records) {
            if (target === shown[0]) steps += "position ";
            else if (target.textContent.includes(" in ")) steps += "volume ";
          }
          if (steps.length < 300) return;
          watch.disconnect();
          play.click();
          arguments[0](steps);
        });
        for (const element of shown) watch.observe(element, { childList: true });
        play.click(); play.click(); play.click(); // while the first step is computed
        """
    )
    assert "position position" not in steps.partition("volume")[2]  # only one walk goes on
    check_quiet(browser, small[1])


def test_mixing_goes_from_one_subject_to_the_other(small: tuple[Path, Path], browser: Any) -> None:
    page = small[1]
    opened(browser, page)
    first = changed(browser, first=3, second=8, noise=False)
    second = changed(browser, first=8)
    changed(browser, first=3)
    browser.execute_script("document.querySelector('[name=mode][value=mix]').click()")
    rows = browser.find_elements("css selector", ".level")
    assert [row.text.split("\n")[0] for row in rows] == [
        "2 x 4 x 4 coarsest", "4 x 8 x 8", "8 x 16 x 16 finest",
    ]  # fmt: skip
    seen = [first]
    for row in rows:
        browser.execute_script("arguments[0].click()", row.find_elements("css selector", "input")[1])
        waited(browser, "window.voxflate.change({})")
        seen.append(volume(browser))
        assert np.abs(seen[-1] - seen[-2]).max() > CLOSE
    np.testing.assert_allclose(seen[-1], second, atol=1e-6)
    check_quiet(browser, page)


def test_the_slider_walks_from_one_subject_to_the_other(small: tuple[Path, Path], browser: Any) -> None:
    page = small[1]
    opened(browser, page)
    first, second = changed(browser, first=3, second=8, noise=False), changed(browser, first=8)
    changed(browser, first=3)
    browser.execute_script("document.querySelector('[name=mode][value=walk]').click()")
    slider = browser.find_element("id", "position")
    browser.execute_script("arguments[0].focus()", slider)
    for key, expected in (("\ue010", second), ("\ue011", first)):  # End, Home
        slider.send_keys(key)
        waited(browser, "window.voxflate.change({})")
        np.testing.assert_allclose(volume(browser), expected, atol=1e-5)
    middle = changed(browser, position=0.5)
    assert np.abs(middle - first).mean() > CLOSE
    assert np.abs(middle - second).mean() > CLOSE
    browser.find_element("id", "play").click()
    places = set()
    for _ in range(100):
        places.add(browser.find_element("id", "position-value").text)
        if len(places) > 2:
            break
        time.sleep(0.05)
    browser.find_element("id", "play").click()
    assert len(places) > 2
    waited(browser, "window.voxflate.change({})")
    check_quiet(browser, page)


def drawn(browser: Any, canvas: str = "[data-plane=axial]") -> Any:
    """Pixels of a canvas, by default of the own viewer's axial slice, [H, W, 3]."""
    address = browser.execute_script(f"return document.querySelector('{canvas}').toDataURL()")
    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    return np.asarray(image.convert("RGB")).astype(int)


def test_the_own_viewer_draws_slices_the_average_and_the_difference(
    small: tuple[Path, Path], browser: Any
) -> None:
    page = small[1]
    opened(browser, page)
    assert len(browser.find_elements("css selector", ".planes canvas")) == 3
    here = volume(browser)
    pixels = drawn(browser)
    expected = (here[4][::-1] + 1) * 127.5  # the axial slice in the middle, front at the top
    cross = np.zeros(expected.shape, bool)
    cross[7] = cross[:, 8] = True
    np.testing.assert_allclose(pixels[:, :, 0], expected, atol=1)
    np.testing.assert_allclose(pixels[~cross][:, 1], expected[~cross], atol=1)
    canvas = browser.find_element("css selector", "[data-plane=axial]")
    assert "A is up, P down, L left, R right" in canvas.get_attribute("aria-label")
    assert [one.text for one in browser.find_elements("css selector", ".slice")] == [
        "A\nP\nL\nR", "S\nI\nL\nR", "S\nI\nP\nA",
    ]  # fmt: skip
    description = browser.execute_script("return window.voxflate.description")
    _, front, right = (n * mm for n, mm in zip(description["shape"], description["spacing"], strict=True))
    sides = [one.rect["width"] for one in browser.find_elements("css selector", ".planes canvas")]
    np.testing.assert_allclose(np.divide(sides, sides[0]), [1, 1, front / right], rtol=0.01)
    canvas.send_keys("\ue013")  # up
    assert "Axial 6 / 8" in browser.find_element("css selector", ".planes").text
    np.testing.assert_allclose(drawn(browser)[:, :, 0], (here[5][::-1] + 1) * 127.5, atol=1)
    changed(browser, shown="average")
    average = drawn(browser)
    assert np.abs(average - pixels).max() > 5
    np.testing.assert_array_equal(average[:, :, 0], average[:, :, 2])
    changed(browser, shown="difference")
    coloured = drawn(browser)
    assert np.abs(coloured[:, :, 0] - coloured[:, :, 2]).max() > 20
    check_quiet(browser, page)


def check_pair(found: Any, mask_: Any, expected: Any) -> None:
    """A volume of the page and its mask against Python's."""
    np.testing.assert_allclose(found[:2], expected[0], atol=CLOSE)
    assert len(np.unique(expected.masks)) == 3
    assert (mask_ == expected.masks[0]).mean() > 0.999  # ties may fall to either side


def test_labels_and_masks_are_python_s(pairs: tuple[Path, Path], browser: Any) -> None:
    export, page = pairs
    generator = voxflate.load(export)
    opened(browser, page)
    first = generator.sample(1, truncation=0.7, labels={"sex": "F", "age": 50})
    check_pair(volume(browser), mask(browser), first)
    slider = browser.find_element("css selector", "[type=range][name=label-1]")
    assert (slider.get_property("min"), slider.get_property("max")) == ("20", "80")
    browser.execute_script("document.querySelector('[name=label-0][value=M]').click()")
    browser.execute_script("arguments[0].focus()", slider)
    slider.send_keys("\ue010")  # End
    waited(browser, "window.voxflate.change({})")
    asked = {"sex": "M", "age": 80}
    check_pair(volume(browser), mask(browser), generator.sample(1, truncation=0.7, labels=asked))
    assert np.abs(volume(browser)[:2] - first[0]).max() > CLOSE
    names: dict[str, Any] = {}
    code = browser.find_element("id", "python").get_property("textContent")
    exec(code.replace('"generator"', repr(str(export))).replace("scans.save", "str"), names)
    check_pair(volume(browser), mask(browser), names["scans"])
    check_quiet(browser, page)


def test_labels_reach_both_ends_and_no_further(tmp_path: Path, browser: Any) -> None:
    share_ = LabelColumn("share", low=0.07, high=1.05, mean=0.5, deviation=0.2)
    layout = Layout(ONE_CHANNEL.channels, (LabelColumn("sex", ("F", "M", "X")), share_))
    _, page = a_page(tmp_path, layout=layout)
    opened(browser, page)
    slider = browser.find_element("css selector", "[type=range][name=label-1]")
    assert (slider.get_property("min"), slider.get_property("max")) == ("0.07", "1.05")
    choices = browser.find_elements("css selector", "[name=label-0]")
    assert [one.is_enabled() for one in choices] == [True, True, False]  # no training scan has X


LONG = ("Alzheimer's disease", "cognitively normal", "mild cognitive impairment")


def test_long_names_fit_a_phone(tmp_path: Path, browser: Any) -> None:
    channels = tuple(Channel(name) for name in ("T1-weighted MPRAGE", "FLAIR with contrast", "T2_turbo_spin"))
    layout = Layout(channels, (LabelColumn("diagnosis", LONG), LabelColumn("a_number", high=9.0)))
    rows = [[LONG[1], 3]]
    _, page = a_page(tmp_path, layout=layout, rows=rows)
    phone = {"width": 320, "height": 600, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        opened(browser, page)
        changed(browser, mode="walk")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        label = browser.find_element("css selector", ".labelled span")
        assert (width, label.text) == (320, "diagnosis")
        assert label.rect["width"] > 50
        assert "tap a slice to move the cross" in browser.find_element("css selector", ".bar").text
        assert "The average does not depend on the labels" in browser.find_element("id", "controls").text
        assert "Values in grey occur in no training scan" in browser.find_element("id", "labels").text
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_mask_lies_over_the_slices_and_can_be_switched_off(
    pairs: tuple[Path, Path], browser: Any
) -> None:
    page = pairs[1]
    opened(browser, page)
    legend = browser.find_element("id", "classes")
    assert legend.text.split() == ["front", "back"]
    here, number = volume(browser), np.searchsorted([0, 2, 7], mask(browser)[2][::-1])
    grey = (np.clip(here[0][2][::-1], -1, 1) + 1) * 127.5
    colours = np.array([[0, 0, 0], [0, 114, 178], [213, 94, 0]])
    opacity = np.array([0, 0.45, 0.45])[number][..., None]
    expected = grey[..., None] * (1 - opacity) + colours[number] * opacity
    np.testing.assert_allclose(drawn(browser)[..., 0], expected[..., 0], atol=1)
    np.testing.assert_allclose(drawn(browser)[..., 2], expected[..., 2], atol=1)
    browser.execute_script("document.querySelector('#mask').click()")
    waited(browser, "window.voxflate.change({})")
    np.testing.assert_allclose(drawn(browser)[..., 0], grey, atol=1)
    assert not legend.is_displayed()
    browser.execute_script("document.querySelector('[name=channel][value=\"1\"]').click()")
    waited(browser, "window.voxflate.change({})")
    np.testing.assert_allclose(drawn(browser)[..., 2], (here[1][2][::-1] + 1) * 127.5, atol=1)
    changed(browser, shown="difference", mask=True)
    assert not browser.find_element("id", "masks").is_displayed()
    check_quiet(browser, page)


def saved(browser: Any, downloads: Path, button: str, name: str) -> Any:
    """The file that a button downloads, not one of that name from an earlier page."""
    (downloads / name).unlink(missing_ok=True)
    browser.find_element("id", button).click()
    for _ in range(100):
        if (downloads / name).is_file():
            break
        time.sleep(0.1)
    return nib.load(downloads / name)


def test_scan_and_mask_are_downloaded_as_python_writes_them(
    pairs: tuple[Path, Path], browser: Any, downloads: Path, tmp_path: Path
) -> None:
    export, page = pairs
    opened(browser, page)
    changed(browser, first=5, psi=1, labels={"sex": "M", "age": 33})
    labels = {"sex": "M", "age": 33}
    written = voxflate.load(export).sample(1, first=5, labels=labels).save(tmp_path / "x.nii.gz")
    stem = "subject-5-variety-100-sex-M-age-33"
    for path, button, channel, atol in zip(
        written[:3], ("download", "download", "download-mask"), (0, 1, 1), (0.15, 0.05, 0), strict=True
    ):
        changed(browser, channel=channel)
        tag = path.name.removeprefix("x")
        got, python = saved(browser, downloads, button, stem + tag), nib.load(path)
        assert got.get_data_dtype() == python.get_data_dtype()
        np.testing.assert_array_equal(got.affine, python.affine)
        differs = np.abs(got.get_fdata() - python.get_fdata()) > atol
        assert differs.mean() < 0.001, tag  # of a mask: ties
        assert b"synthetic" in got.header["descrip"].item()


@pytest.mark.slow
def test_niivue_shows_the_volume_where_there_is_webgl(
    small: tuple[Path, Path], pairs: tuple[Path, Path]
) -> None:
    page = small[1]
    with chromium(*WEBGL, "--window-size=520,520") as browser:
        browser.set_script_timeout(120)
        opened(browser, page)
        assert not browser.find_elements("css selector", ".planes")
        texts = [label.text for label in browser.find_elements("css selector", "#layouts label")]
        assert texts == ["Slices and 3D", "Axial", "Coronal", "Sagittal", "3D"]

        def shown() -> Any:
            image = browser.find_element("css selector", "#view").screenshot_as_png
            return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(int)

        browser.execute_script("document.querySelector('[value=axial]').click()")
        first = shown()
        assert np.ptp(first) > 150
        changed(browser, first=77, psi=1)
        assert np.abs(shown() - first).mean() > 2
        changed(browser, shown="difference")
        difference = shown()
        assert np.abs(difference[:, :, 0] - difference[:, :, 2]).max() > 60  # colours
        check_quiet(browser, page)
        opened(browser, pairs[1])
        browser.execute_script("document.querySelector('[value=axial]').click()")
        coloured = [shown() for mask in (True, False, True) if changed(browser, mask=mask) is not None]
        spread = [np.abs(pixels[:, :, 0] - pixels[:, :, 2]) for pixels in coloured]
        assert (spread[0] > 40).mean() > 0.05
        assert (spread[1] > 40).mean() < 0.02  # the cross
        np.testing.assert_array_equal(coloured[0], coloured[2])
        check_quiet(browser, pairs[1])


@pytest.mark.parametrize("ct", [False, True])
def test_the_download_is_the_file_that_python_writes(
    tmp_path: Path, browser: Any, downloads: Path, ct: bool
) -> None:
    export, page = a_page(tmp_path, ct=ct)
    generator = voxflate.load(export)
    opened(browser, page)
    changed(browser, first=5, psi=0.5)
    got = saved(browser, downloads, "download", "subject-5-variety-50.nii.gz")
    (path,) = generator.sample(1, first=5, truncation=0.5).save(tmp_path / "python.nii.gz")
    python = nib.load(path)
    np.testing.assert_allclose(got.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(got.affine, python.affine)
    assert got.get_data_dtype() == python.get_data_dtype() == (np.int16 if ct else np.float32)
    tolerance = 1 if ct else CLOSE * 150
    np.testing.assert_allclose(got.get_fdata(), python.get_fdata(), atol=tolerance)
    assert b"synthetic" in got.header["descrip"].item()
    assert got.header.get_xyzt_units()[0] == "mm"


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_the_generators_of_the_package_open(
    name: str, browser: Any, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"
    share(shipped()[name], "html", page, Words())
    assert page.stat().st_size < 10e6
    opened(browser, page)
    subjects = [changed(browser, first=number, second=4, noise=False, psi=1) for number in (3, 4)]
    levels = len(browser.execute_script("return window.voxflate.description.levels"))
    for mode, controls in {"mix": {"levels": [True] * levels}, "walk": {"position": 1.0}}.items():
        there = changed(browser, first=3, mode=mode, **controls)
        np.testing.assert_allclose(there, subjects[1], atol=1e-5, err_msg=mode)
    half = {"levels": [index < levels // 2 for index in range(levels)], "position": 0.5, "noise": True}
    for mode in ("mix", "walk", "one"):
        here = changed(browser, first=3, mode=mode, **half)
        for path in tmp_path.glob("*.nii.gz"):
            path.unlink()
        names: dict[str, Any] = {}
        exec(browser.find_element("id", "python").get_property("textContent"), names)
        scan = here if here.ndim == 3 else here[0]
        np.testing.assert_allclose(scan, names["scans"][0], atol=CLOSE, err_msg=mode)
    (written,) = (path for path in tmp_path.glob("*.nii.gz") if "_seg" not in path.name)
    got, python = saved(browser, downloads, "download", written.name), nib.load(written)
    np.testing.assert_array_equal(got.affine, python.affine)
    values = python.get_fdata()
    np.testing.assert_allclose(got.get_fdata(), values, atol=CLOSE * np.ptp(values))
    check_quiet(browser, page)


def test_a_comparison_model_has_a_page_too(tmp_path: Path, browser: Any) -> None:
    export, page = a_page(tmp_path, model="wgan-gp", random=False, base=(1, 2, 2), stages=5, channels=64)
    opened(browser, page)
    found = changed(browser, first=4, psi=0.5)
    np.testing.assert_allclose(found, voxflate.load(export).sample(1, first=4, truncation=0.5)[0], atol=CLOSE)
    for absent in ("mix-choice", "noise-row"):
        assert not browser.find_element("id", absent).is_displayed()
    check_quiet(browser, page)


def test_a_network_error_is_what_a_request_gets(small: tuple[Path, Path], browser: Any) -> None:
    opened(browser, small[1])
    answer = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('refused'))"
    )
    assert answer == "refused"
    assert "Content Security Policy" in str(browser.get_log("browser"))


def test_a_broken_page_says_so(small: tuple[Path, Path], tmp_path: Path, browser: Any) -> None:
    page = tmp_path / "broken.html"
    text = small[1].read_text()
    start = text.index('id="synthesis">') + len('id="synthesis">')
    page.write_text(text[:start] + "AAAA" + text[start + 4 :])
    browser.get(page.as_uri())
    browser.execute_async_script("window.voxflate.ready.then(arguments[0])")
    assert "did not work" in browser.find_element("id", "problem").text
