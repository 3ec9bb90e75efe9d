"""The build fails, with the reason, when an import goes the wrong way or a file or function outgrows its bound."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# each layer may import itself and those before it
LAYERS = ("errors", "spec", "data", "estimate", "plan", "run", "ledger", "backends", "cli")
FORBIDDEN_ON_THE_LAPTOP = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl"}
PURE = ("estimate", "plan", "run/state.py", "run/decide.py", "run/ending.py", "run/selection.py", "run/timing.py", "run/events.py")
IMPURE_MODULES = {
    "os",
    "time",
    "random",
    "socket",
    "subprocess",
    "pathlib",
    "sqlite3",
    "psutil",
    "datetime",
    "shutil",
    "urllib",
    "threading",
}
# they read their own package's data, and the model folder they are given
READS_FILES = ("estimate/gpus.py", "estimate/model_shapes.py")
STDLIB_ONLY = ("contract.py", "supervise.py", "__main__.py", "progress.py", "settings.py", "timer.py")
MAX_FILE_LINES, MEDIAN_FILE_LINES, MAX_FUNCTION_LINES = 400, 150, 70
# named exceptions; this list may only shrink
LONGER_FUNCTIONS: dict[str, int] = {}


def sources(*packages: str) -> list[Path]:
    return sorted(p for package in packages for p in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, lazily or not, with the line; relative imports resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def layer(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


@pytest.mark.parametrize("path", sources("orchestrator"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = path.relative_to(ROOT / "orchestrator").parts[0].removesuffix(".py")
    for module, line in imports(path):
        top = module.split(".")[0]
        assert top not in FORBIDDEN_ON_THE_LAPTOP, f"{path}:{line}: the laptop side must never import {top}"
        assert top != "sky" or "backends/skypilot" in str(path), f"{path}:{line}: only backends/skypilot may import sky"
        if top == "trainer":
            assert module.startswith("trainer.contract") or module == "trainer", (
                f"{path}:{line}: only trainer.contract is shared, not {module}"
            )
        if top == "orchestrator" and layer(module) in LAYERS and here in LAYERS:
            assert LAYERS.index(layer(module)) <= LAYERS.index(here), f"{path}:{line}: {here} must not import {layer(module)}"


@pytest.mark.parametrize("path", sources("trainer"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_trainer_is_alone(path: Path) -> None:
    for module, line in imports(path):
        top = module.split(".")[0]
        assert top not in ("orchestrator", "tests", "benchmarks"), f"{path}:{line}: the box has only the trainer folder"
        if path.name in STDLIB_ONLY and path.parent.name == "trainer":
            known = top in sys.stdlib_module_names or top in ("trainer", "__future__")
            assert known, f"{path}:{line}: {path.name} runs before anything is installed; it imports {top}"


@pytest.mark.parametrize("pure", PURE)
def test_pure_modules_touch_nothing(pure: str) -> None:
    place = ROOT / "orchestrator" / pure
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for module, line in imports(path):
            if module.split(".")[0] == "pathlib" and str(path.relative_to(ROOT / "orchestrator")) in READS_FILES:
                continue
            assert module.split(".")[0] not in IMPURE_MODULES, f"{path}:{line}: pure code must not import {module}"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{path.relative_to(ROOT)}::{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_sizes() -> None:
    files = [p for p in sources("orchestrator", "trainer", "benchmarks", "task_templates") if p.stat().st_size]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    too_long = [f"{p.relative_to(ROOT)}: {n}" for p, n in lines.items() if n > MAX_FILE_LINES]
    assert not too_long, f"files over {MAX_FILE_LINES} lines: {too_long}"
    assert statistics.median(lines.values()) <= MEDIAN_FILE_LINES
    long_functions = [f"{name}: {n}" for p in files for name, n in functions(p) if n > LONGER_FUNCTIONS.get(name, MAX_FUNCTION_LINES)]
    assert not long_functions, f"functions over {MAX_FUNCTION_LINES} lines: {long_functions}"


def loaded_by(*arguments: str) -> set[str]:
    """Modules in memory after a command has run in a fresh process."""
    code = (
        "import sys, io\nfrom orchestrator.cli.app import main\nsys.argv = ['cloudtune', *sys.argv[1:]]\nout, sys.stdout = sys.stdout, io.StringIO()\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nout.write('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines())


def test_help_loads_nothing_of_ours_but_its_own_page() -> None:
    ours = {
        m for m in loaded_by("--help") if m.split(".")[0] in ("orchestrator", "trainer", "msgspec", "yaml", "psutil", "sqlite3", "torch")
    }
    assert ours == {"orchestrator", "orchestrator.cli", "orchestrator.cli.app", "orchestrator.cli.output", "orchestrator.errors"}


def test_no_command_loads_the_training_libraries() -> None:
    for arguments in (["schema"], ["ps"], ["init"], ["run", "--dry-run"]):
        assert not loaded_by(*arguments) & FORBIDDEN_ON_THE_LAPTOP, arguments
