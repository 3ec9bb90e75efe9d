"""squeue's answer as the engine sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.observers.slurm import SlurmObserver, gpus, held_s, listed, priced
from orchestrator.run.ports import PortError
from orchestrator.run.selection import instance_name

NAME = instance_name("0a1b2c", "00000001", 12)
HEADER = "cloudtune:JOBID:STATE:TIME:NODES:TRES_PER_NODE@NAME"
PRICES = {"A100": 1.2, "T4": 0.2}


def _row(state: str, *, held: str = "1:05", nodes: int = 1, gres: str = "gres:gpu:T4:1", name: str = f"{NAME}-89abcdef") -> str:
    return f"{HEADER}\ncloudtune:7:{state}:{held}:{nodes}:{gres}@{name}\n"


def test_a_running_job() -> None:
    (instance,) = listed(_row("RUNNING", nodes=2, gres="gres:gpu:a100:2"), PRICES)
    assert (instance.name, instance.id, instance.ready, instance.stopped) == (NAME, "7", True, False)
    assert (instance.gpu, instance.count, instance.usd_per_hour, instance.age_s) == ("A100", 4, pytest.approx(4.8), 65.0)


def test_a_job_in_the_queue_is_listed_and_costs_nothing_yet() -> None:
    (instance,) = listed(_row("PENDING", held="0:00"), PRICES)
    assert (instance.ready, instance.gpu, instance.count, instance.usd_per_hour, instance.age_s) == (False, "T4", 1, 0.0, None)


@pytest.mark.parametrize("state", ["CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED"])
def test_a_job_that_holds_its_node_costs_money_and_is_not_ready(state: str) -> None:
    (instance,) = listed(_row(state), PRICES)
    assert (instance.ready, instance.usd_per_hour, instance.stopped) == (False, 0.2, state in ("SUSPENDED", "STOPPED"))


@pytest.mark.parametrize("name", ["bash", "my:job@home", f"{NAME}-worker", "cloudtune:x"])
def test_other_jobs_are_left_out_whatever_their_name(name: str) -> None:
    assert listed(_row("RUNNING", name=name), PRICES) == ()


def test_what_a_login_shell_says_is_no_job() -> None:
    assert len(listed("Welcome!\n" + _row("RUNNING") + "bye\n", PRICES)) == 1


@pytest.mark.parametrize("text", ["", "Welcome!\n", _row("RUNNING").partition("\n")[2], f"{HEADER}\ncloudtune:7:RUNN", _row("running")])
def test_no_list_is_unknown_and_not_empty(text: str) -> None:
    with pytest.raises(PortError):
        listed(text, PRICES)


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("gres:gpu:T4:1", ("T4", 1)),
        ("gres/gpu:a100:2", ("a100", 2)),
        ("gres/gpu:a100=2", ("a100", 2)),
        ("gpu:nvidia_h100_80gb_hbm3:8", ("nvidia_h100_80gb_hbm3", 8)),
        ("gres:gpu:4", ("", 4)),
        ("gpu", ("", 1)),
        ("gres/shard:2,gres/gpu:l40s:1", ("l40s", 1)),
        ("N/A", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_gpus(gres: str, found: tuple[str, int]) -> None:
    assert gpus(gres) == found


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("T4", ("T4", 1.0)),
        ("tesla_t4", ("T4", 1.0)),
        ("nvidia_a100_sxm4_80gb", ("A100-80GB", 4.0)),
        ("nvidia_a100", ("A100", 3.0)),
        ("t40", ("t40", 4.0)),
        ("", ("", 4.0)),
    ],
)
def test_prices(kind: str, found: tuple[str, float]) -> None:
    assert priced(kind, {"T4": 1.0, "A100": 3.0, "A100-80GB": 4.0}) == found


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:07", 7.0), ("12:34", 754.0), ("1:00:01", 3601.0), ("2-03:00:00", 183600.0), ("INVALID", None)]
)
def test_time_held(text: str, seconds: float | None) -> None:
    assert held_s(text) == seconds


def test_a_job_without_a_gpu_costs_nothing_here() -> None:
    (instance,) = listed(_row("RUNNING", gres="N/A"), PRICES)
    assert (instance.gpu, instance.count, instance.usd_per_hour) == ("", 0, 0.0)


def test_the_question_is_one_word_that_no_shell_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(argv)
        return subprocess.CompletedProcess(argv, 0, _row("RUNNING").encode(), b"")

    monkeypatch.setattr("orchestrator.backends.login_node.subprocess.run", answer)
    observer = SlurmObserver("-oProxyCommand=x", PRICES, Path("/book"))
    assert [one.id for one in observer.instances(NAME)] == ["7"]
    assert observer.instances(instance_name("0a1b2c", "00000001", 13)) == ()
    assert asked[0][:3] == ["ssh", "-F", "/book"] and asked[0][-3:-1] == ["--", "-oProxyCommand=x"]
    assert not set(asked[0][-1]) & set("'\"$`\\;&|<>()*?[]{}~!#\n")


def _raise(error: Exception) -> Any:
    def run(*_: Any, **__: Any) -> None:
        raise error

    return run


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("ssh", 1.0), FileNotFoundError("ssh")])
def test_a_cluster_that_cannot_be_asked_is_unknown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("orchestrator.backends.login_node.subprocess.run", _raise(error))
    with pytest.raises(PortError):
        SlurmObserver("rig", PRICES).everything()


@pytest.mark.parametrize("code", [1, 255])
def test_a_failed_question_is_unknown(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    failed = subprocess.CompletedProcess(["ssh"], code, f"{HEADER}\n".encode(), b"slurm_load_jobs error")
    monkeypatch.setattr("orchestrator.backends.login_node.subprocess.run", lambda *_, **__: failed)
    with pytest.raises(PortError, match="slurm_load_jobs error"):
        SlurmObserver("rig", PRICES).everything()
