"""Seconds per volume on the page of `voxflate export --to html`, in headless Chromium.

    python -m benchmarks.page

The generators have random weights, which do not affect the time. The page computes on one thread.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.browsers import NO_WEBGL, chromium
from tests.sharing.generators import an_export
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share

SIZES = {"16x32x32": 4, "32x64x64": 5}
ARCHITECTURES = ("split-shuffle", "baseline")
ROUNDS = 9


def main() -> None:
    """Print a table."""
    print("| size | architecture | page, MB | seconds per volume, median (smallest) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, chromium(*NO_WEBGL) as browser:
        browser.set_script_timeout(300)
        for size, stages in SIZES.items():
            for architecture in ARCHITECTURES:
                root = Path(folder, size, architecture)
                network = {"channels": 32, "z_dim": 64, "w_dim": 64, "mapping_layers": 8}
                export = an_export(root / "generator", architecture=architecture, stages=stages, **network)
                page = root / "page.html"
                share(export, "html", page, Words())
                browser.get(page.as_uri())
                seconds = [seconds_of(browser) for _ in range(ROUNDS)]
                middle, least = statistics.median(seconds), min(seconds)
                megabytes = page.stat().st_size / 1e6
                print(f"| {size} | {architecture} | {megabytes:.1f} | {middle:.2f} ({least:.2f}) |")


def seconds_of(browser: object) -> float:
    """Seconds from a new subject's number to its volume on the screen."""
    found: float = browser.execute_async_script(  # type: ignore[attr-defined]
        "const done = arguments[0]; window.voxflate.ready.then(async () => {"
        "const before = performance.now();"
        "await window.voxflate.change({first: Math.floor(Math.random() * 1e6)});"
        "done((performance.now() - before) / 1000); })"
    )
    return found


if __name__ == "__main__":
    main()
