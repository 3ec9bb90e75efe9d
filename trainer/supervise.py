"""Owns a work folder and runs every attempt in a fresh process until the outcome is known.

Standard library only: it starts in well under a second and outlives whatever happens to torch. It must never train,
load a model, or leave a process behind: a worker dies with its supervisor (a pipe, and on Linux a death signal).

Exit codes (``trainer.contract.ExitCode``):

==  ================================================================================
0   trained to the end; ``adapter/`` verifies
1   a bug, or a worker that kept being killed; the last complete checkpoint is usable
2   the config does not parse or asks for the impossible
3   a data file is missing or holds a row that cannot be used
4   the model cannot be had or loaded
10  out of memory on every rung of the ladder
20  stopped by the soft deadline or on request; checkpoint and adapter saved
21  the loss is not a number; the last good checkpoint is kept
22  no room on the disk
23  another supervisor owns the work folder
24  this machine cannot do it: no GPU, a driver too old, no disk, packages that do not install
==  ================================================================================
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from .contract import (
    CONTRACT_VERSION,
    LOG_FILE,
    PROGRESS_FILE,
    RESULT_FILE,
    STOP_FILE,
    SUPERVISOR_FILE,
    ConfigError,
    ExitCode,
    Kind,
    ManifestError,
    TrainerConfig,
    dump_config,
    load_config,
    newest_checkpoint,
    verify_manifest,
    write_atomically,
)
from .progress import Progress, read_progress, training_seconds
from .settings import check_config, next_rung

MAX_CRASH_RESTARTS = 3  # in a row without a newer checkpoint
MAX_ATTEMPTS = 50  # in all: crashes with progress, and rungs
STOP_GRACE_S = 300.0  # from a stop request or the deadline until the worker is killed
POLL_S = 0.1
LOCK_FILE = ".lock"
ATTEMPT_FILE = "attempt.json"  # the config of the running attempt: the user's, moved by the ladder
WORKER_RESULT_FILE = "worker.json"  # the worker's last word
CONTROL_FD_VARIABLE = "CLOUDTUNE_CONTROL_FD"
STOP_BYTE = b"s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How the work ended: the exit code and one line of why."""

    code: ExitCode
    reason: str


def main(config_path: str) -> int:
    """Run one config to its end; returns the exit code. Prints one line on stderr when it cannot even begin."""
    try:
        config = load_config(Path(config_path))
        out = Path(config.out_dir)
        out.mkdir(parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        print(f"trainer: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG
    with open(out / LOCK_FILE, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"trainer: another supervisor owns {out}", file=sys.stderr)
            return ExitCode.BUSY
        settled = settled_code(config)
        if settled is not None:
            return settled
        (out / RESULT_FILE).unlink(missing_ok=True)
        return Supervisor(config).run()


def settled_code(config: TrainerConfig) -> ExitCode | None:
    """The code of an earlier run that ended with a good adapter; None when there is work to do."""
    try:
        code = ExitCode(json.loads((Path(config.out_dir) / RESULT_FILE).read_text(encoding="utf-8"))["exit_code"])
        verify_manifest(config.adapter_path)
    except (OSError, ValueError, KeyError, TypeError):  # ManifestError is a ValueError
        return None
    return code if code in (ExitCode.DONE, ExitCode.STOPPED) else None


class Supervisor:
    """One run: attempts, restarts, the ladder, the stop signals, the result."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        self.out = Path(config.out_dir)
        self.progress = Progress(self.out / PROGRESS_FILE)
        self.started_at = time.time()
        self.stop_signals = 0
        self.stopping_since: float | None = None
        self.attempts = 0
        self.rungs: list[str] = []

    def run(self) -> int:
        """Supervise until the end; returns the exit code that result.json holds."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        body = {"pid": os.getpid(), "started_at": self.started_at}
        write_atomically(self.out / SUPERVISOR_FILE, json.dumps(body))
        try:
            check_config(self.config)
            ending = self._attempts()
        except ConfigError as error:
            ending = Ending(code=ExitCode.BAD_CONFIG, reason=str(error))
        ending = self._verified(ending)
        result = self._result(ending)
        self.progress.emit(Kind.END, exit_code=int(ending.code), reason=ending.reason)
        self.progress.close()
        write_atomically(self.out / RESULT_FILE, json.dumps(result, ensure_ascii=False, indent=1))
        if ending.code not in (ExitCode.DONE, ExitCode.STOPPED):
            print(f"trainer: {ending.reason}", file=sys.stderr)
        return ending.code

    def _on_signal(self, number: int, frame: object) -> None:
        self.stop_signals += 1

    def _attempts(self) -> Ending:
        """Start attempts until one gives an answer."""
        config, crashes, best = self.config, 0, self._checkpoint_step()
        while self.attempts < MAX_ATTEMPTS:
            self.attempts += 1
            returned = self._attempt(config)
            said = self._worker_said()
            if returned == ExitCode.OUT_OF_MEMORY:
                rung = next_rung(config.training)
                if rung is None:
                    return Ending(code=ExitCode.OUT_OF_MEMORY, reason=f"out of memory on the last rung: {said}")
                config = dataclasses.replace(config, training=rung[0])
                self.rungs.append(rung[1])
                self.progress.emit(Kind.RUNG, change=rung[1], why=f"out of memory: {said}")
                continue
            if returned >= 0:
                return Ending(code=_known(returned), reason=said or f"the worker ended with {returned}; see {LOG_FILE}")
            if self.stop_signals > 1 or self._grace_over():
                return Ending(code=ExitCode.CRASH, reason="killed while stopping; the last complete checkpoint is usable")
            step = self._checkpoint_step()
            crashes, best = (1, step) if step > best else (crashes + 1, best)
            if crashes > MAX_CRASH_RESTARTS:
                break
            self.progress.notice(f"the worker was killed by signal {-returned}; going on from step {max(step, 0)}")
        return Ending(code=ExitCode.CRASH, reason=f"the worker kept being killed; gave up after {self.attempts} attempts")

    def _attempt(self, config: TrainerConfig) -> int:
        """Run one worker; returns its exit code, negative for a signal. No worker is alive afterwards."""
        write_atomically(self.out / ATTEMPT_FILE, dump_config(config))
        (self.out / WORKER_RESULT_FILE).unlink(missing_ok=True)
        read_end, write_end = os.pipe()
        with open(self.out / LOG_FILE, "ab") as log:
            process = self._spawn(log, read_end)
        os.close(read_end)
        try:
            return self._watch(process, write_end)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(write_end)

    def _spawn(self, log: IO[bytes], read_end: int) -> subprocess.Popen[bytes]:
        # Blocked signals stay blocked in the child until it has its handlers: a group-wide SIGTERM that comes while
        # Python starts is then kept for it instead of killing it.
        blocked = (signal.SIGTERM, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "trainer.worker", str(self.out / ATTEMPT_FILE)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(read_end,),
                env=_worker_environment(self.config, read_end),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)

    def _watch(self, process: subprocess.Popen[bytes], write_end: int) -> int:
        """Wait for the worker, passing stop requests on and ending it when its grace is over."""
        told = False
        while True:  # bounded by the worker's life, and by STOP_GRACE_S once a stop was asked for
            try:
                return process.wait(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                pass
            if self.stop_signals and not told:
                told = True
                try:
                    os.write(write_end, STOP_BYTE)
                except BrokenPipeError:
                    continue  # it is ending; the next wait returns
            if self.stop_signals > 1 or self._grace_over():
                process.kill()

    def _grace_over(self) -> bool:
        """Has a stop been due for longer than STOP_GRACE_S?"""
        deadline_at = self.config.soft_deadline_at
        due = self.stop_signals or (self.out / STOP_FILE).exists() or (deadline_at is not None and time.time() >= deadline_at)
        if not due:
            return False
        if self.stopping_since is None:
            self.stopping_since = time.time()
        return time.time() - self.stopping_since > STOP_GRACE_S

    def _checkpoint_step(self) -> int:
        newest = newest_checkpoint(self.config.checkpoints_path)
        return int(newest.name.removeprefix("step-")) if newest else -1

    def _worker_result(self) -> dict[str, Any]:
        try:
            body = json.loads((self.out / WORKER_RESULT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return body if isinstance(body, dict) else {}

    def _worker_said(self) -> str:
        return str(self._worker_result().get("reason", ""))

    def _verified(self, ending: Ending) -> Ending:
        """Success is claimed only for an adapter whose hashes hold."""
        if ending.code in (ExitCode.DONE, ExitCode.STOPPED):
            try:
                verify_manifest(self.config.adapter_path)
            except ManifestError as error:
                return Ending(code=ExitCode.CRASH, reason=f"the adapter does not verify: {error}")
        return ending

    def _result(self, ending: Ending) -> dict[str, Any]:
        lines = list(read_progress(self.out / PROGRESS_FILE))
        steps = [line for line in lines if line.get("kind") == Kind.STEP]
        last = steps[-1] if steps else {}
        worker = self._worker_result()
        adapter = None
        if ending.code in (ExitCode.DONE, ExitCode.STOPPED):
            adapter = {"path": self.config.adapter_path.name, "sha256": verify_manifest(self.config.adapter_path)}
        peaks = [int(line.get("peak_memory_bytes") or 0) for line in steps] + [int(worker.get("peak_memory_bytes") or 0)]
        return {
            "version": CONTRACT_VERSION,
            "exit_code": int(ending.code),
            "reason": ending.reason,
            "steps": worker.get("steps", last.get("step", 0)),
            "total_steps": worker.get("total_steps", last.get("total_steps", 0)),
            "training_s": training_seconds(lines),
            "tokens": worker.get("tokens", last.get("tokens", 0)),
            "evaluation": worker.get("evaluation"),
            "adapter": adapter,
            "peak_memory_bytes": max(peaks),
            "attempts": self.attempts,
            "rungs": self.rungs,
            "started_at": self.started_at,
            "ended_at": time.time(),
        }


def _known(code: int) -> ExitCode:
    return ExitCode(code) if code in set(ExitCode) else ExitCode.CRASH


def _worker_environment(config: TrainerConfig, control_fd: int) -> dict[str, str]:
    """The worker's environment: one GPU, repeatable hashing, no telemetry; the user's own settings win."""
    environment = dict(os.environ)
    defaults = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",  # fragmentation looks like running out of memory
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads make a busy machine several times slower, an idle one no faster
        "TORCHDYNAMO_DISABLE": "1",  # nothing is compiled on paid time; bitsandbytes would load the compiler at import
    }
    for key, value in defaults.items():
        environment.setdefault(key, value)
    # Two small cards in data parallel are slower than one, and a quantized model cannot be split that way at all.
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    environment["PYTHONHASHSEED"] = "0"
    environment["PYTHONUNBUFFERED"] = "1"
    environment[CONTROL_FD_VARIABLE] = str(control_fd)
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parent.parent), *_entries("PYTHONPATH")])
    if config.threads:
        environment["OMP_NUM_THREADS"] = str(config.threads)
    return environment


def _entries(variable: str) -> list[str]:
    return [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry]
