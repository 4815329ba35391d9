"""Imports point one way, the model library stays behind its seam, and help answers at once."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "uosam"

# Lowest first; a room imports from rooms above it in this list, and from itself. Rooms that share
# a line know nothing of each other. A room is a folder, or a file of the ground floor.
LAYERS = (
    {"errors"},
    {"demand"},
    {"structures", "lookup", "coerce", "text"},
    {"labels"},
    {"stages", "metrics", "geometry", "regions"},
    {"pipeline", "backends"},
    {"io", "interchange"},
    {"datasets", "config"},
    {"report"},
    {"runs", "training"},
    {"evaluation"},
    {"bench"},
    {"api"},
    {"app"},
    {"cli"},
    {"__main__"},
)
GROUND = {
    "errors",
    "demand",
    "structures",
    "lookup",
    "coerce",
    "text",
    "labels",
    "pipeline",
    "config",
    "__main__",
}
MOST_FILES, MOST_LINES = 13, 300
TORCH_ROOMS = {"backends", "training"}
HEAVY = {"torch", "torchvision", "transformers", "segment_anything"}
# What users hold draws and saves itself: methods of one line each, imported when they are called.
EXCEPTIONS = {("uosam.structures", "uosam.report.result")}
SLOW = HEAVY | {"faiss", "pandas", "pyarrow", "cv2", "scipy", "sklearn", "skimage", "PIL"}


def room(module: str) -> str:
    """Return the room of a dotted module name below ``uosam``; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def rank(name: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text())


def imports(module: str, tree: ast.AST, *, nested: bool = True) -> Iterator[str]:
    """Yield the dotted names that a module imports, outside ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full, without leading dots"
            source = node.module or ""
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                path = REPO / whole.replace(".", "/")
                is_module = path.with_suffix(".py").is_file() or path.is_dir()
                yield whole if source.startswith("uosam") and is_module else source
        elif nested or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(module, node, nested=nested)


def faults(package: Path) -> list[str]:
    """List every import against the rules."""
    found = []
    for module, tree in modules(package):
        here = room(module)
        if here == "baselines":
            continue
        for name in imports(module, tree):
            top = name.split(".")[0]
            there = room(name)
            if top in {"baselines", "benchmarks", "tests", "examples"}:
                found.append(f"{module} imports {name}, which is not installed")
            elif there == "baselines":
                found.append(f"{module} imports {name}; name baselines as text")
            elif top in HEAVY and here not in TORCH_ROOMS:
                found.append(f"{module} imports {name}; only {sorted(TORCH_ROOMS)} may")
            elif (module, name) in EXCEPTIONS:
                continue
            elif top == "uosam" and here and there and here != there and rank(there) >= rank(here):
                found.append(f"{module} imports {name}, which is not below it")
    return found


def test_every_module_has_a_layer() -> None:
    known = set().union(*LAYERS)
    for module, _ in modules(PACKAGE):
        name = room(module)
        assert name in known | {"", "baselines"}, f"add {name} to LAYERS in {__file__}"


def folders() -> list[Path]:
    return [path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]


def test_only_the_ground_floor_is_files() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == GROUND | {"__init__"}


@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_a_room_says_what_it_is_for(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert "ay import" in text
    assert len(text.splitlines()) >= 3


@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_a_room_is_small(folder: Path) -> None:
    files = list(folder.glob("*.py"))
    # The command line holds one file for each command.
    assert len(files) <= MOST_FILES + 1 or folder.name == "cli", sorted(p.name for p in files)
    long = {p.name: n for p in files if (n := len(p.read_text().splitlines())) > MOST_LINES}
    assert not long
    repeated = [p.name for p in files if p.stem.startswith(f"{folder.name}_")]
    assert not repeated, "a name says what it holds without its room's name"


def test_tests_mirror_the_rooms() -> None:
    rooms = {path.name for path in folders()} | {"baselines", "benchmarks", "faults"}
    here = {path.parent.relative_to(REPO / "tests") for path in REPO.glob("tests/*/**/test_*.py")}
    assert {part for path in here for part in path.parts} <= rooms | {"faults"}


def test_imports_point_one_way() -> None:
    assert faults(PACKAGE) == []


def test_no_import_cycles() -> None:
    graph = {
        module: {name for name in imports(module, tree, nested=False) if name.startswith("uosam.")}
        for module, tree in modules(PACKAGE)
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("labels.py", "from uosam.pipeline import refine"),
        ("labels.py", "import uosam.cli.refine"),
        ("pipeline.py", "from uosam.backends import load_backend"),
        ("pipeline.py", "from uosam import backends"),
        ("backends/__init__.py", "def f():\n    from uosam.pipeline import refine"),
        ("metrics/luss.py", "if True:\n    import uosam.io.codecs as c"),
        ("io/codecs.py", "from uosam.runs.refine import refine_folder"),
        ("runs/engine.py", "import torch.cuda"),
        ("io/codecs.py", "def f():\n    from torch import nn"),
        ("evaluation/evaluate.py", "from baselines.identity import make"),
        ("bench/plan.py", "from uosam.baselines.identity import make"),
        ("stages/merge.py", "from uosam.metrics import luss"),
    ],
)
def test_the_rules_catch(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / "uosam" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(faults(tmp_path / "uosam")) == 1


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_building_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, uosam.cli; uosam.cli.build_app(); print(*sys.modules)"
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert not SLOW & set(result.stdout.split())


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "coarse",
        "refine",
        "proposals",
        "name",
        "demo",
        "eval",
        "app",
        "report",
        "export",
        "bench",
        "ablate",
        "retrain",
        "loop",
        "data check",
        "depth view",
        "models",
        "config",
    ],
)
def test_help_answers_at_once(command: str) -> None:
    # Processor time, the best of three: other work on the machine is not our fault.
    code = (
        "import resource, sys, uosam.cli\n"
        f"sys.argv = ['uosam', *{command.split()!r}, '--help']\n"
        "try:\n    uosam.cli.main()\n"
        "except SystemExit as done:\n    assert not done.code\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('\\nseconds', used.ru_utime + used.ru_stime)"
    )
    seconds = []
    for _ in range(3):
        result = python("-c", code)
        assert result.returncode == 0, result.stderr
        assert "Usage" in result.stdout
        seconds.append(float(result.stdout.split()[-1]))
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.7
