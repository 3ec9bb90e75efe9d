"""A notebook becomes a job. By syntax tree: nothing of the notebook is executed or imported.

    import_notebook(path) -> Imported       raises NotebookProblem (errors.py), always bad input

cells.py and magics.py read; values.py, machine.py, constants.py, expressions.py, attributes.py, calls.py, library.py, statements.py and
resolve.py evaluate what is certain; trainers.py, datasets.py, prompts.py and extract.py find the fine-tune; measured.py reads its outputs;
write.py writes the job file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cells, errors, extract, kaggle, measured, resolve, trainers, write

__all__ = ["Imported", "import_notebook"]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What a notebook says about its fine-tune. `job` has the job file's names; sources, unresolved and overridden have dotted keys."""

    name: str
    job: dict[str, Any]
    hub_id: str | None  # the Hub repository with the same weights, when known
    sources: dict[str, str]
    unresolved: list[dict[str, str]]
    overridden: dict[str, dict[str, Any]]
    measured: dict[str, Any]
    data: list[dict[str, Any]] = field(default_factory=list)  # Kaggle inputs and the commands that get them
    notes: list[str] = field(default_factory=list)
    trainers: int = 1

    def to_json(self) -> dict[str, Any]:
        """The document of `cloudtune import -o json`."""
        names = ("job", "hub_id", "sources", "unresolved", "overridden", "measured", "data", "notes", "trainers")
        return {name: getattr(self, name) for name in names}

    def to_yaml(self) -> str:
        """The text of cloudtune.yaml."""
        return write.render(self.name, self.job, self.sources, self.unresolved, self.overridden, self.notes)


def import_notebook(path: Path, *, trainer: int | None = None) -> Imported:
    """Reads the notebook or Python file at `path`. trainer: which one, from 1, where there are several.

    Raises NotANotebook, TooLarge, NothingFound, SeveralTrainers: all of them bad input.
    """
    notebook = cells.read(path)
    machine = resolve.walk(notebook)
    try:
        event, count = trainers.choose(machine, trainer)
    except errors.NothingFound as problem:
        said = "; ".join([*notebook.notes, *machine.notes][:5])
        raise errors.NothingFound(f"{problem.message} {said}".strip(), problem.hint) from None
    shown = measured.measure(notebook, event.train_loc, event.call.loc)
    draft = extract.extract(event, shown)
    model = draft.values.get("model")
    return Imported(
        name=path.name,
        job=draft.job(),
        hub_id=kaggle.hub_id(model) if isinstance(model, str) else None,
        sources=draft.sources,
        unresolved=draft.unresolved,
        overridden=draft.overridden,
        measured=shown,
        data=draft.data,
        notes=[*notebook.notes, *machine.notes, *draft.notes],
        trainers=count,
    )
