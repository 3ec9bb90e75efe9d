"""check asks the clouds that the job names, within seconds. The cluster's ``ssh`` is a script that says what a login node would."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Desk


@pytest.fixture
def cluster(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job names a Slurm cluster; the path is that of ``ssh``."""
    text = (desk.job / "cloudtune.yaml").read_text()
    (desk.job / "cloudtune.yaml").write_text(text + "resources: {infra: [slurm/near, local]}\n", encoding="utf-8")
    (tmp_path / "tools").mkdir()
    usual = desk.environment()
    monkeypatch.setattr(desk, "environment", lambda: usual | {"PATH": f"{tmp_path / 'tools'}:{usual['PATH']}"})
    return tmp_path / "tools" / "ssh"


def says(ssh: Path, script: str) -> None:
    ssh.write_text(f"#!/bin/sh\n{script}\n")
    ssh.chmod(0o755)


def found(desk: Desk, *arguments: str) -> tuple[list[dict[str, str]], list[str]]:
    code, out, err = desk.run("check", "-o", "json", *arguments)
    assert code == 0 and "Traceback" not in err, err
    document = json.loads(out)
    return document["credentials"], [line for line in document["unchecked"] if "credentials" in line]


def with_credential(desk: Desk) -> None:
    (desk.home / ".slurm").mkdir()
    (desk.home / ".slurm/config").write_text("Host near\n  HostName 127.0.0.1\n  Port 9\n")


def test_none_here(desk: Desk, cluster: Path) -> None:
    (one,), unchecked = found(desk)
    assert (one["what"], one["state"]) == ("slurm/near", "missing") and "~/.slurm/config" in one["next"] and not unchecked


def test_one_that_works_and_one_that_does_not(desk: Desk, cluster: Path) -> None:
    with_credential(desk)
    says(cluster, "echo cloudtune:JOBID:STATE:TIME:NODES:TRES_PER_NODE@NAME")
    (one,), unchecked = found(desk)
    assert (one["what"], one["state"]) == ("slurm/near", "ok") and "answers in" in one["said"] and not unchecked, one
    says(cluster, "echo 'Permission denied (publickey).' >&2; exit 255")
    (one,), unchecked = found(desk)
    assert one["state"] == "problem" and "Permission denied" in one["said"] and one["next"], one
    code, out, _ = desk.run("check")
    assert code == 0 and "Permission denied" in out


def test_one_that_never_answers_and_one_that_is_not_asked(desk: Desk, cluster: Path) -> None:
    with_credential(desk)
    says(cluster, "exec sleep 30")
    began = time.monotonic()
    (one,), unchecked = found(desk)
    assert one["state"] == "unasked" and "no answer within 6 s" in unchecked[0] and time.monotonic() - began < 25.0
    (one,), unchecked = found(desk, "--offline")
    assert one["said"] == "not asked: --offline" and unchecked == ["your credentials at slurm/near: not asked: --offline"]


def test_a_place_that_is_not_rented_from(desk: Desk) -> None:
    text = (desk.job / "cloudtune.yaml").read_text()
    (desk.job / "cloudtune.yaml").write_text(text + "resources: {infra: [aws]}\n", encoding="utf-8")
    (one,), unchecked = found(desk)
    assert one["state"] == "unasked" and unchecked == ["your credentials at aws: cloudtune does not rent there yet"]


def test_a_job_for_this_machine_asks_nobody(desk: Desk) -> None:
    assert found(desk) == ([], []), "no credential lies in this home"
    with_credential(desk)
    text = (desk.job / "cloudtune.yaml").read_text()
    (desk.job / "cloudtune.yaml").write_text(text + "resources: {infra: [local]}\n", encoding="utf-8")
    assert found(desk) == ([], [])
