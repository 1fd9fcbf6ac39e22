"""The house: no import cycles, few modules at the root, files that can be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LONGEST = 350
AT_THE_ROOT = 3


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((SOURCE / "voxflate").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.orelse if is_for_types_only(node) else ast.iter_child_nodes(node)  # type: ignore[attr-defined]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported, inside functions too, and by a literal `import_module`."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))  # type: ignore[misc]


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    found: dict[str, set[str]] = {}
    for name, text in sources.items():
        wanted = imports(ast.parse(text))
        known = (each if each in sources else each.rpartition(".")[0] for each in wanted)
        found[name] = {each for each in known if each in sources and each != name}
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """The first cycle; empty if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycle(graph({name: path.read_text(encoding="utf-8") for name, path in modules().items()})) == []


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("from b import x", True),
        ("import b", True),
        ("def f():\n    from b import x", True),
        ("import importlib\ndef f():\n    importlib.import_module('b')", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import x", False),
        ("x = 1", False),
    ],
)
def test_a_planted_cycle_is_found(first: str, found: bool) -> None:
    assert bool(cycle(graph({"a": first, "b": "import a"}))) == found


def test_at_most_three_modules_at_the_root() -> None:
    at_the_root = sorted(path.name for path in (SOURCE / "voxflate").glob("*.py"))
    assert len(at_the_root) <= AT_THE_ROOT, at_the_root


@pytest.mark.parametrize("path", modules().values(), ids=modules())
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST
