"""A job folder with a tiny random model, and the real command run in it as a person runs it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.backends.local import MARK
from tests.trainer.trainer_rig import tiny_model

__all__ = ["tiny_model"]

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 180.0
JOB = """\
model: {model}
dataset: {{path: data.csv, prompt: "review {{text}} sentiment", label: label, eval_fraction: 0.2}}
quantization: nf4-double
lora: {{r: 4, alpha: 8, dropout: 0.1}}
training: {{max_length: 24, per_device_train_batch_size: 4, gradient_accumulation_steps: 2, num_train_epochs: {epochs}, learning_rate: 1e-3,
  gradient_checkpointing: false, save_steps: 10}}
"""


class Desk:
    """One user: a home, a job folder, and ``cloudtune`` processes."""

    def __init__(self, folder: Path, model: Path, epochs: int = 2) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.job = folder / "a 'job' ü"
        self.job.mkdir()
        (self.job / "cloudtune.yaml").write_text(JOB.format(model=json.dumps(str(model)), epochs=epochs), encoding="utf-8")
        words = ["film", "plot", "actor", "scene", "quite", "very"]
        rows = [
            f"{words[i % 6]} was {words[i * 5 % 6]} {'good' if i % 2 else 'bad'},{'positive' if i % 2 else 'negative'}" for i in range(50)
        ]
        (self.job / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
        (self.job / "trainer.py").write_text("raise SystemExit('shadowed')\n")
        self.started: list[subprocess.Popen[str]] = []

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "CLOUDTUNE_"))}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", "from orchestrator.cli.app import main; main()", *arguments]
        process = subprocess.Popen(
            command, cwd=self.job, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, out, err

    def at_a_terminal(self, columns: int, *arguments: str) -> tuple[int, str]:
        """Run in a terminal of so many columns: (exit code, what it showed)."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        command = [sys.executable, "-P", "-c", "from orchestrator.cli.app import main; main()", *arguments]
        environment = {k: v for k, v in self.environment().items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm", "NO_COLOR": "1"}
        process = subprocess.Popen(
            command, cwd=self.job, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(TIMEOUT_S), shown.decode(errors="replace").replace("\r", "")

    def receipt(self, *arguments: str) -> dict[str, Any]:
        """Run to the end with ``-o json``; the receipt, of a run that must succeed."""
        code, out, err = self.run("run", "--infra", "local", "-y", "-o", "json", *arguments)
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def events(self) -> list[str]:
        """Bodies of all events of all runs, in order; empty before the first."""
        path = self.home / ".local/state/cloudtune/ledger.sqlite"
        if not path.exists():
            return []
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                return [bytes(row[0]).decode() for row in connection.execute("SELECT body FROM events ORDER BY run, seq")]
        except sqlite3.OperationalError:
            return []  # being created right now

    def step(self) -> int:
        """The newest training step that the journal knows."""
        steps = [json.loads(body).get("step", 0) for body in self.events() if '"kind":"progressed"' in body]
        return max(steps, default=0)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, "\n".join(self.events())
            time.sleep(0.02)

    def box_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                if MARK in environment and environment.get("HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def adapter(self) -> bytes:
        return (self.job / "out" / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture
def desk(tmp_path: Path, tiny_model: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "desk", tiny_model)
    yield desk
    for process in desk.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    left = desk.box_processes()
    for process in left:
        process.kill()
    assert not left, "a process of a box was left behind"


LONG_EPOCHS = 40  # 200 steps: several seconds, so that there is something to interrupt


@pytest.fixture
def long_desk(desk: Desk, tiny_model: Path) -> Desk:
    """The same user with a longer job."""
    (desk.job / "cloudtune.yaml").write_text(JOB.format(model=json.dumps(str(tiny_model)), epochs=LONG_EPOCHS), encoding="utf-8")
    return desk


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> bytes:
    """The adapter of the longer job, never disturbed."""
    other = Desk(tmp_path_factory.mktemp("other") / "desk", tiny_model, LONG_EPOCHS)
    other.receipt()
    return other.adapter()
