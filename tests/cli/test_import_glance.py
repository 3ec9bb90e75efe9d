"""After an import: what the job needs and costs, in one screen; nothing that is missing here fails it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.notebook import write_data, write_notebook
from orchestrator.cli import importing


def screen(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    write_notebook(folder / "nb.ipynb")
    monkeypatch.chdir(folder)
    importing.run(Path("nb.ipynb"), None, None, force=False)
    return " ".join(capsys.readouterr().out.split())


def test_memory_is_known_without_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = screen(tmp_path, monkeypatch, capsys)
    assert "On a T4 this fits" in said and "train.csv does not exist" in said
    assert "hours and dollars are known once the data can be read here" in said
    assert (tmp_path / "cloudtune.yaml").exists()


def test_with_the_data_beside_it_the_hours_and_dollars_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "train.csv", 20_000)
    said = screen(tmp_path, monkeypatch, capsys)
    assert "reckoned with ./train.csv" in said and "reckoned with meta-llama/Meta-Llama-3-8B-Instruct" in said
    assert "plan: kaggle T4×2 $0: takes" in said and "a session there ends after" in said
    assert "plan: cheapest: 1." in said and "cloudtune run --budget" in said
