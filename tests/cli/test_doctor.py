"""doctor: what is there, what is missing, what to do; no secret is shown, and a cloud that says no is a problem, not a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import doctor, output
from orchestrator.cli.output import Format


def findings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    output.choose(Format.JSON)
    try:
        assert doctor.doctor() == 0
    finally:
        output.choose(Format.TEXT)
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def test_an_empty_home_is_told_how_to_get_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = findings(monkeypatch, capsys)
    assert {found[cloud]["state"] for cloud in ("vast", "slurm", "runpod", "lambda", "aws")} == {"missing"}
    assert ".config/vastai/vast_api_key" in found["vast"]["next"] and found["disk"]["state"] == "ok"


def test_a_cluster_that_cannot_be_asked_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".slurm").mkdir()
    (tmp_path / ".slurm/config").write_text("Host far\n  HostName 127.0.0.1\n  Port 9\n")
    (tmp_path / ".config/vastai").mkdir(parents=True)
    found = findings(monkeypatch, capsys)
    assert found["slurm/far"]["state"] == "problem" and "far" in found["slurm/far"]["said"]
