"""Measures everything in docs/performance.md, and writes the tables into the page.

    python -m benchmarks.performance [--rounds 5] [--only step sampling ...] [--gib 3]
    python -m benchmarks.performance --tables      # fill the page from the JSON files and measure nothing

Runs `benchmarks.step`, `sampling`, `memory`, `cost`, `loading`, `prepare_ratio` and `plan_check`, each in a
separate process, and writes docs/benchmarks/NAME.json and docs/images/cost.png. Then the lines between
<!-- table: NAME --> and <!-- end --> in the page are made from the JSON files. A failed benchmark is
reported in one line and its file and table are kept, the others continue, and the exit status is 1. Other
load on the cores falsifies all results.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import cost, loading, memory, plan_check, prepare_ratio, sampling, step
from benchmarks.arguments import parser_of

from voxflate._system.files import read_json, whole_file

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "docs" / "benchmarks"
PICTURE = ROOT / "docs" / "images" / "cost.png"

TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "step": step.table,
    "sampling": sampling.table,
    "memory": memory.table,
    "cost": cost.table,
    "loading": loading.table,
    "prepare_ratio": prepare_ratio.table,
    "plan_check": plan_check.table,
}
"""Benchmark -> Markdown of its JSON, in the order in which they run."""

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def command(name: str, rounds: int, gib: float, out: Path) -> list[str]:
    """The command line of one benchmark."""
    words = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)]
    if name in ("step", "sampling", "cost", "plan_check"):
        words += ["--rounds", str(rounds)]
    if name == "sampling":
        words.append("--whole")
    if name == "loading":
        words += ["--gib", str(gib), "--limit-gib", str(gib / 2)]
    return words


def measure(name: str, rounds: int, gib: float) -> bool:
    """Run one benchmark; its file is replaced only if it succeeds. Tell whether it did."""
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / f"{name}.json"
        if subprocess.run(command(name, rounds, gib, out), cwd=ROOT).returncode:
            return False
        shutil.move(out, FOLDER / out.name)
    return True


def filled(text: str, folder: Path) -> str:
    """The page with every table made from its JSON file; a table without a file is kept."""

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        path = folder / f"{name}.json"
        if not path.exists():
            return found.group()
        picture = f"\n![Cost against size](images/{PICTURE.name})\n" if name == "cost" else ""
        return f"{begin}{written(read_json(path))}\n\n{TABLES[name](read_json(path))}\n{picture}{end}"

    return _BLOCK.sub(block, text)


def written(content: Mapping[str, Any]) -> str:
    """One sentence about the machine; files of older versions have fewer facts."""
    facts = content["machine"]
    words = [f"{facts['processor']}, {facts['threads']} threads, PyTorch {facts['torch']}"]
    words.append(f"{facts['kernels']} kernels")
    if "rounds" in facts:
        words.append(f"medians of {facts['rounds']} rounds")
    if "load" in facts:
        words.append(f"load before {facts['load']:.1f}")
    return ", ".join(words) + "."


def main() -> None:
    """Run the requested benchmarks, then fill the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), help="benchmarks to run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=3.0, help="set larger than memory; the limit is half")
    parser.add_argument("--tables", action="store_true", help="fill the page only")
    options = parser.parse_args()
    names = [] if options.tables else options.only
    failed = [name for name in names if not measure(name, options.rounds, options.gib)]
    drawn = FOLDER / "cost.json"
    if "cost" in options.only and drawn.exists():
        cost.picture(read_json(drawn), PICTURE)
    text = filled(PAGE.read_text(encoding="utf-8"), FOLDER)
    with whole_file(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if failed:
        sys.exit(f"performance: failed: {', '.join(failed)}; their tables are unchanged")


if __name__ == "__main__":
    main()
