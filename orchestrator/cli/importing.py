"""import: a notebook's fine-tune as a job file. Nothing of the notebook is executed; nothing is overwritten unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.cli import output
from orchestrator.errors import UsageProblem
from orchestrator.spec.notebook import Imported, import_notebook
from orchestrator.spec.notebook.errors import NotebookProblem
from orchestrator.spec.parse import JOB_FILE_NAMES
from trainer.contract import write_atomically


def run(notebook: Path, to: Path | None, trainer: int | None, force: bool) -> None:
    """The ``import`` command. Raises UsageProblem."""
    imported = read(notebook, trainer)
    if output.as_json():
        output.print_json(imported.to_json())
        return
    target = to or Path(JOB_FILE_NAMES[0])
    if target.exists() and not force:
        raise UsageProblem(f"{target} exists", hint=f"--to another file, or --force to replace {target}")
    write(imported, target)
    _summary(imported, target)
    from orchestrator.cli import glance

    glance.show(imported, target)


def read(notebook: Path, trainer: int | None) -> Imported:
    """The fine-tune of a notebook. Raises UsageProblem for anything that is none."""
    try:
        return import_notebook(notebook, trainer=trainer)
    except NotebookProblem as error:
        raise UsageProblem(error.message, hint=error.hint or None) from error


def write(imported: Imported, target: Path) -> None:
    """Write the job file. Raises UsageProblem when it cannot be written."""
    try:
        write_atomically(target, imported.to_yaml())
    except OSError as error:
        raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error


def _summary(imported: Imported, target: Path) -> None:
    console = output.answers()
    console.print(f"{target}: {len(imported.sources)} values from the notebook, each with the cell it comes from", markup=False)
    for item in imported.unresolved:
        console.print(f"  not resolved: {item['key']}: {item['why']}", markup=False)
    for key, change in imported.overridden.items():
        console.print(f"  changed: {key} from {change['from']} to {change['to']}: {change['why']}", markup=False)
    for note in imported.notes:
        console.print(f"  note: {note}", markup=False)
    for item in imported.data:
        _data(item, console)
    if imported.measured:
        console.print("  measured there: " + ", ".join(f"{k} {v}" for k, v in imported.measured.items()), markup=False)
    if imported.hub_id and imported.hub_id != imported.job.get("model"):
        console.print(f"  the same weights on the Hub: {imported.hub_id}", markup=False)


def _data(item: dict[str, Any], console: Any) -> None:
    command = item.get("command")
    console.print(f"  data: {item.get('path') or item.get('id')}" + (f"   get it: {command}" if command else ""), markup=False)


def only_notebook(folder: Path) -> Path | None:
    """The one notebook of a folder; None when there is none or more than one."""
    found = sorted(folder.glob("*.ipynb"))
    return found[0] if len(found) == 1 else None
