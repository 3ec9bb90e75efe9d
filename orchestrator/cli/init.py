"""init: a job folder from a task template."""

from __future__ import annotations

import shlex
import shutil
from importlib import resources
from pathlib import Path

from orchestrator.cli import output
from orchestrator.errors import UsageProblem


def templates() -> dict[str, str]:
    """Template name -> its one-line purpose, the first line of its README."""
    found = {}
    for entry in sorted(resources.files("task_templates").iterdir(), key=lambda e: e.name):
        readme = entry.joinpath("README.md")
        if entry.is_dir() and readme.is_file():
            found[entry.name] = readme.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return found


def run(template: str | None, folder: Path | None) -> None:
    """The ``init`` command."""
    known = templates()
    if template is None:
        if output.as_json():
            output.print_json({"templates": known})
        else:
            for name, purpose in known.items():
                output.answers().print(f"{name:<12} {purpose}", markup=False)
        return
    if template not in known:
        raise UsageProblem(f"there is no template {template!r}", hint=f"cloudtune init {' | '.join(known)}")
    target = folder or Path(template)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageProblem(f"{target} exists and is not empty", hint="name a new folder")
        target.mkdir(parents=True, exist_ok=True)
        with resources.as_file(resources.files("task_templates").joinpath(template)) as source:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    except OSError as error:
        raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error
    files = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    if output.as_json():
        output.print_json({"folder": str(target), "files": files})
    else:
        output.answers().print(f"{target}: {', '.join(files)}\nnext: cd {shlex.quote(str(target))} && cloudtune run", markup=False)
