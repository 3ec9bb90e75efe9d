"""SkyPilot's server: what was left of it, and its ports: neither may be one that its own clients can be given before anybody listens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.backends.skypilot import worker


def test_neither_port_is_one_that_connections_are_given_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_is_free", lambda port: True)
    for port in {worker._free_port() for _ in range(200)}:
        assert port < 32768
        assert worker.queue_port(port) % 2 == 1


def test_a_port_whose_queue_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0, 1])
    monkeypatch.setattr(worker.secrets, "randbelow", lambda below: next(drawn))
    monkeypatch.setattr(worker, "_is_free", lambda port: port != worker.queue_port(20000))
    assert worker._free_port() == 20002


def test_the_queues_port_is_skypilots_own(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = pytest.importorskip("sky.server.requests.queues.mp_queue", reason="pip install 'cloudtune[sky]'")
    for port in (20000, 31998, 46580, 60999):
        monkeypatch.setenv(worker.PORT_VARIABLE, str(port))
        assert queue.get_queue_manager_port() == worker.queue_port(port)


def test_what_a_killed_server_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    left = subprocess.Popen(sleeps, env={**os.environ, "HOME": str(tmp_path / "sky")})
    others = [
        subprocess.Popen(sleeps, env={**os.environ, "HOME": str(tmp_path)}),
        subprocess.Popen([*sleeps, worker.WORKER], env={**os.environ, "HOME": str(tmp_path / "sky")}),
    ]
    try:
        while "HOME" not in (Path("/proc") / str(left.pid) / "environ").read_text():
            continue
        worker._end_processes(tmp_path / "sky")
        assert left.poll() is not None
        assert [one.poll() for one in others] == [None, None], "another home's, and a worker that waits for its turn"
    finally:
        for one in (left, *others):
            one.kill()
            one.wait()
