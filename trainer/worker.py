"""One attempt in its own process: ``python -P -m trainer.worker CONFIG``. Started by the supervisor only.

Sets up signals and the tie to its supervisor before anything slow is imported, turns every error into an exit code,
and leaves ``worker.json`` with its last word. Must not decide about restarts or the ladder.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from .contract import PROGRESS_FILE, ConfigError, ExitCode, TrainerConfig, load_config, write_atomically
from .errors import BusyError, exit_code_for
from .progress import Progress
from .settings import check_config
from .stop import Stop
from .supervise import CONTROL_FD_VARIABLE, STOP_BYTE, WORKER_RESULT_FILE

PR_SET_PDEATHSIG = 1
WORKER_LOCK_FILE = ".worker.lock"
LOCK_WAIT_S = 30.0  # for the worker of a supervisor that was just killed to be gone
LOCK_POLL_S = 0.05
MAX_REASON_CHARACTERS = 600


def main(config_path: str) -> int:
    """Run one attempt; returns the exit code."""
    control = os.environ.pop(CONTROL_FD_VARIABLE, None)
    try:
        config = load_config(Path(config_path))
        check_config(config)
    except ConfigError as error:
        print(f"trainer.worker: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG
    stop = Stop(config)
    _tie_to_supervisor(stop, control)
    said: dict[str, Any] = {}
    try:
        lock = _only_worker(Path(config.out_dir))
        with lock, Progress(Path(config.out_dir) / PROGRESS_FILE) as progress:
            code = _train(config, progress, stop, said)
    except Exception as error:  # the boundary of the process: everything becomes an exit code
        traceback.print_exc()
        code = exit_code_for(error)
        said["reason"] = _one_line(error)
    _leave(Path(config.out_dir), code, said)
    return code


def _train(config: TrainerConfig, progress: Progress, stop: Stop, said: dict[str, Any]) -> ExitCode:
    from .attempt import run_attempt  # torch and transformers: seconds, after the signals are in place

    return run_attempt(config, progress, stop, said)


def _leave(out: Path, code: ExitCode, said: dict[str, Any]) -> None:
    try:
        write_atomically(out / WORKER_RESULT_FILE, json.dumps({"exit_code": int(code), **said}, ensure_ascii=False))
    except OSError:
        traceback.print_exc()  # a full disk: the exit code still says it


def _tie_to_supervisor(stop: Stop, control: str | None) -> None:
    """Die when the supervisor dies; ignore Ctrl-C (it decides); take its word to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: setattr(stop, "asked", "stop requested"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    if control is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_listen, args=(int(control), stop), daemon=True).start()


def _listen(descriptor: int, stop: Stop) -> None:
    while True:  # ends with the supervisor, and this process with it
        word = os.read(descriptor, 1)
        if word == b"":
            os._exit(ExitCode.CRASH)
        if word == STOP_BYTE:
            stop.asked = "stop requested"


def _only_worker(out: Path) -> Any:
    """A lock held until this process is gone, so two workers never write to one folder."""
    handle = open(out / WORKER_LOCK_FILE, "a", encoding="utf-8")  # noqa: SIM115 - closed by the caller's with
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:  # bounded by LOCK_WAIT_S
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                handle.close()
                raise BusyError(f"another worker still owns {out}") from error
            time.sleep(LOCK_POLL_S)
        else:
            return handle


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    known = exit_code_for(error) is not ExitCode.CRASH
    return (text if known else f"{type(error).__name__}: {text}")[:MAX_REASON_CHARACTERS]


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's own shutdown can take a second and has nothing left to save
