"""A dataset named by its Hub id or its Kaggle path: a Hub on the loopback, and a command called kaggle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Desk

CSV = "prompt,completion\nfilm,good\nplot,bad\nactor,good\n"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.csv").write_text(CSV)
    (folder / "data/weights.bin").write_bytes(b"not data")
    (folder / "README.md").write_text("a card")
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("hub.py")), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield folder, f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.communicate()


def job_of(desk: Desk, dataset: str) -> None:
    text = (desk.job / "cloudtune.yaml").read_text().splitlines()[0]
    (desk.job / "cloudtune.yaml").write_text(f"{text}\ndataset: {{path: '{dataset}'}}\n", encoding="utf-8")


def online(desk: Desk, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The desk's processes may ask this Hub, and no other."""
    usual = desk.environment()
    usual.pop("HF_HUB_OFFLINE")
    monkeypatch.setattr(desk, "environment", lambda: usual | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"})


def test_a_hub_id(desk: Desk, monkeypatch: pytest.MonkeyPatch, hub: tuple[Path, str]) -> None:
    job_of(desk, "acme/reviews")
    code, _, err = desk.run("check")
    assert code == 2 and "acme/reviews" in err and "the Hub cannot be reached" in err and "Traceback" not in err
    online(desk, monkeypatch, hub[1])
    code, out, err = desk.run("check", "-o", "json")
    found = json.loads(out)
    assert code == 0 and found["rows"] == 3 and found["tokens"]["counted"], err
    assert not list(desk.home.rglob("weights.bin")), "what is no data is not downloaded"
    code, out, err = desk.run("check", "--offline", "-o", "json")
    assert code == 0 and json.loads(out)["rows"] == 3, err


def test_held_out_rows_lie_elsewhere_too(desk: Desk, monkeypatch: pytest.MonkeyPatch, hub: tuple[Path, str]) -> None:
    """``eval_path`` is a Hub id beside a file, or the same Hub id, whose test files are scored and whose train files are trained on."""
    (hub[0] / "data/test.csv").write_text("prompt,completion\nscene,dull\nfilm,fine\n")
    online(desk, monkeypatch, hub[1])
    (desk.job / "rows.csv").write_text(CSV)
    model = (desk.job / "cloudtune.yaml").read_text().splitlines()[0]
    for path in ("rows.csv", "acme/reviews"):
        (desk.job / "cloudtune.yaml").write_text(f"{model}\ndataset: {{path: {path}, eval_path: acme/reviews}}\n", encoding="utf-8")
        code, out, err = desk.run("check", "-o", "json")
        found = json.loads(out)
        assert code == 0 and found["rows"] == 3 and not any("flatter" in line for line in found["reports"]), (out, err)
        code, out, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
        assert code == 0 and "3 rows to train on and 2 held out" in out + err, (out, err)
    (desk.job / "cloudtune.yaml").write_text(f"{model}\ndataset: {{path: rows.csv, eval_path: acme/gated}}\n", encoding="utf-8")
    code, _, err = desk.run("check")
    assert code == 2 and f"{hub[1]}/datasets/acme/gated" in err and "hf auth login; then this command again" in err, err


def test_held_out_rows_from_kaggle(desk: Desk) -> None:
    folder = desk.home / ".cache/cloudtune/kaggle/acme--reviews"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(CSV)
    (folder / "valid.csv").write_text("prompt,completion\nscene,dull\n")
    model = (desk.job / "cloudtune.yaml").read_text().splitlines()[0]
    (desk.job / "cloudtune.yaml").write_text(
        f"{model}\ndataset: {{path: 'kaggle:acme/reviews', eval_path: 'kaggle:acme/reviews'}}\n", encoding="utf-8"
    )
    code, out, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
    assert code == 0 and "3 rows to train on and 1 held out" in out + err, (out, err)


def test_gated_and_unknown(desk: Desk, monkeypatch: pytest.MonkeyPatch, hub: tuple[Path, str]) -> None:
    online(desk, monkeypatch, hub[1])
    for name, words in (("acme/gated", "gated for you"), ("acme/nowhere", "nor on the Hub")):
        job_of(desk, name)
        code, _, err = desk.run("check")
        assert code == 2 and name in err and words in err and "hf auth login" in err and "Traceback" not in err, err


def test_kaggle(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual, tools = desk.environment(), tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setattr(desk, "environment", lambda: usual | {"PATH": f"{tools}:/usr/bin:/bin"})
    job_of(desk, "kaggle:acme/reviews")
    code, _, err = desk.run("check")
    assert code == 2 and "Kaggle's command is not installed" in err and "pip install kaggle" in err
    tool = tools / "kaggle"
    tool.write_text("#!/bin/sh\necho '401 - Unauthorized' >&2; exit 1\n")
    tool.chmod(0o755)
    code, _, err = desk.run("check")
    assert code == 2 and "401" in err and "kaggle.com/settings" in err and "Traceback" not in err
    made = tmp_path / "made.csv"
    made.write_text(CSV)
    tool.write_text(f'#!/bin/sh\n[ "$1 $2 $3 $4" = "datasets download -d acme/reviews" ] && cp {made} "$6/train.csv"\n')
    code, out, err = desk.run("check", "-o", "json")
    assert code == 0 and json.loads(out)["rows"] == 3, err
    tool.unlink()
    code, out, err = desk.run("check", "--offline", "-o", "json")
    assert code == 0 and json.loads(out)["rows"] == 3, err
    job_of(desk, "kaggle:nothing")
    code, _, err = desk.run("check")
    assert code == 2 and "kaggle:OWNER/nothing" in err
