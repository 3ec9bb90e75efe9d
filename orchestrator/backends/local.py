"""This machine as a box: a folder and a detached supervisor, at $0. Provider, Observer and Remote in one class.

The same life as a rented instance, made of the same calls: the folder is the instance, processes marked with its name
are what runs on it. A killed controller leaves the supervisor training; the next one finds it again by name.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from orchestrator.backends.bundle import CONFIG_FILE, JOB_DIR, WORK_DIR, code_root, copy_files, trainer_files
from orchestrator.backends.home import INCOMING_DIR
from orchestrator.backends.progress import read_news
from orchestrator.ledger.paths import private
from orchestrator.plan.offers import Offer
from orchestrator.run.events import Instance
from orchestrator.run.ports import Cargo, News, Parcel, PortError
from trainer.contract import (
    ADAPTER_DIR,
    CHECKPOINT_DIR,
    LOCK_FILE,
    RESULT_FILE,
    STOP_FILE,
    dump_config,
    load_config,
    newest_checkpoint,
    write_atomically,
)

MARK = "CLOUDTUNE_BOX"  # environment variable that every process of a box carries: the box's folder
JOB_FILE = "job.json"  # process id and start time of the supervisor that submit started
LIFE_FILE = "ends_at"
HEARTBEAT_FILE = "heartbeat"  # touched whenever a controller speaks with the box
RESUME_DIR = "resume"
LOGS_DIR = "logs"  # in the run's folder
TERM_S = 5.0  # between asking a process to end and killing it


class LocalBox:
    """Local boxes below ``root``. ``bundle``: what is uploaded; ``home``: the run's folder, where parcels arrive."""

    title = "this machine"

    def __init__(self, root: Path, bundle: Path, home: Path) -> None:
        self._root = root
        self._bundle = bundle
        self._home = home
        self._started: list[subprocess.Popen[bytes]] = []

    # --- Provider ---------------------------------------------------------------------------------------------------

    def create(self, offer: Offer, name: str, timer_s: float | None) -> str:
        try:
            private(self._box(name))
            if timer_s is not None and not (self._box(name) / LIFE_FILE).exists():
                self.arm(name, timer_s)
        except OSError as error:
            raise PortError(f"the box's folder could not be made: {error.strerror or error}") from error
        return name

    def arm(self, name: str, life_s: float) -> None:
        """Start the box's own timer: a process that ends the box at that instant, whatever happens to us."""
        ends_at = time.time() + life_s
        write_atomically(self._box(name) / LIFE_FILE, repr(ends_at))
        self._spawn([sys.executable, "-P", "-m", "trainer.timer", str(self._box(name)), MARK], name, "timer.log")

    def destroy(self, name: str, ids: tuple[str, ...]) -> None:
        if ids and name not in ids:
            return
        marked = self._processes(name)
        for process in marked:
            _signal(process, signal.SIGTERM)
        _, alive = psutil.wait_procs(marked, timeout=TERM_S)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=TERM_S)
        self._reap()
        try:
            self._keep_logs(name)
            if self._box(name).exists():
                shutil.rmtree(self._box(name))
        except OSError as error:
            raise PortError(f"the box's folder could not be removed: {error.strerror or error}") from error

    def _keep_logs(self, name: str) -> None:
        """What was printed on the box, for whoever wants to know why it failed."""
        for log in (*self._box(name).glob("*.log"), *(self._box(name) / WORK_DIR).glob("*.log")):
            shutil.copy2(log, private(self._home / LOGS_DIR) / f"{name}-{log.name}")

    # --- Observer ---------------------------------------------------------------------------------------------------

    def instances(self, name: str) -> tuple[Instance, ...]:
        self._reap()
        if self._box(name).exists() or self._processes(name):
            return (self._listed(name),)
        return ()

    def everything(self) -> tuple[Instance, ...]:
        self._reap()
        marks = {Path(mark) for _, mark in _marked_processes()}
        names = {p.name for p in self._root.glob("ct-*") if p.is_dir()} | {mark.name for mark in marks if mark.parent == self._root}
        return tuple(self._listed(name) for name in sorted(names))

    def _listed(self, name: str) -> Instance:
        box = self._box(name)
        spoken = box / HEARTBEAT_FILE
        heartbeat_at = spoken.stat().st_mtime if spoken.exists() else None
        return Instance(name=name, id=name, ready=box.exists(), heartbeat_at=heartbeat_at)

    # --- Remote -----------------------------------------------------------------------------------------------------

    def upload(self, name: str) -> tuple[int, int]:
        box = self._box(name)
        files = [(path, box / relative) for path, relative in trainer_files()]
        files += [(path, box / JOB_DIR / path.name) for path in sorted(self._bundle.iterdir()) if path.is_file()]
        try:
            private(box / WORK_DIR)
            return copy_files(files)
        except OSError as error:
            raise PortError(f"upload: {error.strerror or error}") from error

    def submit(self, name: str, stop_in_s: float | None, checkpoint: Path | None) -> str:
        box = self._box(name)
        running = self._supervisor(name)
        if running is not None:
            return running
        try:
            resume_from = None
            if checkpoint is not None:
                target = box / RESUME_DIR / checkpoint.name
                if not target.exists():
                    shutil.copytree(checkpoint, target)
                resume_from = str(target)
            for leftover in (RESULT_FILE, STOP_FILE):
                (box / WORK_DIR / leftover).unlink(missing_ok=True)
            config = load_config(self._bundle / CONFIG_FILE)
            config = dataclasses.replace(
                config,
                train_file=str(box / JOB_DIR / Path(config.train_file).name),
                eval_file=str(box / JOB_DIR / Path(config.eval_file).name) if config.eval_file else None,
                out_dir=str(box / WORK_DIR),
                resume_from=resume_from,
                soft_deadline_at=None if stop_in_s is None else time.time() + stop_in_s,
            )
            write_atomically(box / JOB_DIR / CONFIG_FILE, dump_config(config))
            job = self._spawn([sys.executable, "-P", "-m", "trainer", str(box / JOB_DIR / CONFIG_FILE)], name, "supervisor.log")
            write_atomically(box / JOB_FILE, json.dumps(job))
        except OSError as error:
            raise PortError(f"submit: {error.strerror or error}") from error
        return f"{name}/supervisor"

    def poll(self, name: str, cursor: int) -> News:
        if not self._box(name).is_dir():
            raise PortError(f"there is no box {name}")
        (self._box(name) / HEARTBEAT_FILE).touch()
        alive = self._supervisor(name) is not None  # before reading, so that its last words are not missed
        return read_news(self._box(name) / WORK_DIR, cursor, alive)

    def ask_stop(self, name: str) -> None:
        try:
            (self._box(name) / WORK_DIR / STOP_FILE).touch()
        except OSError as error:
            raise PortError(f"stop: {error.strerror or error}") from error

    def fetch(self, name: str, cargo: Cargo) -> Parcel:
        work = self._box(name) / WORK_DIR
        source = work / ADAPTER_DIR if cargo == "adapter" else newest_checkpoint(work / CHECKPOINT_DIR)
        if source is None or not source.is_dir():
            raise PortError(f"there is no {cargo} on the box")
        target = private(self._home / INCOMING_DIR) / source.name
        try:
            if target.exists():
                shutil.rmtree(target)
            shutil.copytree(source, target)
        except (OSError, shutil.Error) as error:
            raise PortError(f"{cargo}: {error}") from error
        return Parcel(cargo=cargo, step=int(source.name.removeprefix("step-")) if cargo == "checkpoint" else 0, place=target)

    # --- processes --------------------------------------------------------------------------------------------------

    def _box(self, name: str) -> Path:
        return self._root / name

    def _spawn(self, arguments: list[str], name: str, log: str) -> dict[str, float]:
        box = self._box(name)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLOUDTUNE_") and k != "PYTHONHOME"}
        environment |= {MARK: str(box), "PYTHONPATH": str(box) if (box / "trainer").is_dir() else str(code_root()), "PYTHONUNBUFFERED": "1"}
        with open(box / log, "ab") as output:
            process = subprocess.Popen(
                arguments, cwd=box, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._started.append(process)
        return {"pid": process.pid, "created_at": psutil.Process(process.pid).create_time()}

    def _supervisor(self, name: str) -> str | None:
        """What identifies the box's living supervisor: it holds its lock, or it has just been started."""
        self._reap()
        if _lock_held(self._box(name) / WORK_DIR / LOCK_FILE):
            return f"{name}/supervisor"
        try:
            job = json.loads((self._box(name) / JOB_FILE).read_text(encoding="utf-8"))
            process = psutil.Process(int(job["pid"]))
            alive = process.create_time() == job["created_at"] and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, KeyError, psutil.Error):
            return None
        return f"{name}/supervisor" if alive else None

    def _processes(self, name: str) -> list[psutil.Process]:
        """Every living process of this user that carries the box's mark."""
        return [process for process, mark in _marked_processes() if mark == str(self._box(name))]

    def _reap(self) -> None:
        self._started = [process for process in self._started if process.poll() is None]


def _marked_processes() -> Iterator[tuple[psutil.Process, str]]:
    """Every living process of this user that belongs to a box, with the box's folder; zombies left out."""
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK)
            if mark is not None and process.status() != psutil.STATUS_ZOMBIE:
                yield process, mark
        except psutil.Error:
            continue  # another user's, or already gone


def _lock_held(path: Path) -> bool:
    """Whether a living process holds the supervisor's lock."""
    try:
        with open(path, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # what was wanted
