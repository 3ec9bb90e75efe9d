"""Notebooks of our own in the shapes of public ones: every value that a careful reader can resolve is right, and nothing else is claimed.

corpus/NAME.cells holds the cells ("# %%" begins one; "#>> " lines are its output; "#meta " its metadata), NAME.expected.json what a careful
reader says: the whole job, the keys that must be reported as not known, and what else is worth checking.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.spec.notebook import errors, import_notebook

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(one.name.removesuffix(".expected.json") for one in CORPUS.glob("*.expected.json"))


def as_notebook(text: str) -> dict[str, Any]:
    """The .ipynb of a corpus file."""
    made: list[dict[str, Any]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("# %%"):
            kind = "markdown" if "[markdown]" in line else "code"
            made.append({"cell_type": kind, "metadata": {}, "source": [], "execution_count": len(made) + 1, "outputs": []})
        elif line.startswith("#>> "):
            outputs = made[-1]["outputs"]
            if not outputs:
                outputs.append({"output_type": "stream", "name": "stdout", "text": []})
            outputs[0]["text"].append(line[4:])
        elif line.startswith("#meta "):
            made[-1]["metadata"] = json.loads(line[6:])
        elif made:
            made[-1]["source"].append(line)
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"language": "python", "name": "python3"}}, "cells": made}


def expected(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CORPUS / f"{name}.expected.json").read_text())
    return loaded


def test_there_are_enough() -> None:
    assert len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_notebook(name: str, tmp_path: Path) -> None:
    wanted = expected(name)
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps(as_notebook((CORPUS / f"{name}.cells").read_text())))
    if "error" in wanted:
        with pytest.raises(getattr(errors, wanted["error"])):
            import_notebook(path)
        if "trainer" not in wanted:
            return
    found = import_notebook(path, trainer=wanted.get("trainer"))
    document = json.loads(json.dumps(found.to_json()))
    assert document["job"] == wanted["job"]
    assert types(document["job"]) == types(wanted["job"])
    assert {one["key"] for one in document["unresolved"]} == set(wanted["unresolved"]), document["unresolved"]
    assert all(one["why"] for one in document["unresolved"])
    assert set(document["sources"]) == set(leaves(document["job"]))
    assert {key: {"from": one["from"], "to": one["to"]} for key, one in document["overridden"].items()} == wanted.get("overridden", {})
    if "hub_id" in wanted:
        assert document["hub_id"] == wanted["hub_id"]
    if "data" in wanted:
        assert [one["path"] for one in document["data"]] == wanted["data"]
    for key, value in wanted.get("measured", {}).items():
        assert document["measured"][key] == value
    if wanted.get("measured") == {}:
        assert document["measured"] == {}
    for key, value in wanted.get("sources", {}).items():
        assert document["sources"][key] == value
    for text in wanted.get("notes", []):
        assert any(text in one for one in document["notes"]), document["notes"]
    assert yaml.safe_load(found.to_yaml()) == found.job


@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_a_python_file(name: str, tmp_path: Path) -> None:
    """A .py export in percent format says the same, at the file's own lines."""
    wanted, text = expected(name), (CORPUS / f"{name}.cells").read_text()
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    if "error" in wanted or "notes" in wanted or "#>> " in text or "%%" in text.replace("# %%", ""):
        return
    found = import_notebook(path)
    assert found.job == wanted["job"]
    line = text.splitlines().index(next(one for one in text.splitlines() if "train_dataset" in one)) + 1
    assert line > 0
    assert all(one.startswith("line ") for one in found.sources.values() if not one.startswith("cell"))


def leaves(job: dict[str, Any], prefix: str = "") -> list[str]:
    return [
        one for key, value in job.items() for one in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"])
    ]


def types(value: Any) -> Any:
    """The types throughout: 1, 1.0 and True are three values."""
    if isinstance(value, dict):
        return {key: types(one) for key, one in value.items()}
    return [types(one) for one in value] if isinstance(value, list) else type(value).__name__
