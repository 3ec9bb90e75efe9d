"""This side of the worker: starts it when it is first needed, asks, and bounds every wait."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from typing import Any

from orchestrator.backends.skypilot.home import PORT_FILE, USERS_OWN, WORKER, SkyHome
from orchestrator.errors import MissingExtra
from orchestrator.ledger.paths import private
from orchestrator.run.ports import PortError

START_S = 180.0  # importing SkyPilot and starting its server on a loaded machine
ANSWER_S = 120.0
LEAVE_S = 30.0
LOG_FILE = "worker.log"


class SkyError(PortError):
    """SkyPilot raised. ``kind``: the name of its exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind


class SkyClient:
    """SkyPilot behind a pipe. One request at a time; not for several threads."""

    def __init__(self, home: SkyHome) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def ask(self, do: str, *, bound_s: float = ANSWER_S, **arguments: Any) -> dict[str, Any]:
        """Do one thing of ``worker.ASKED``. Raises SkyError for what SkyPilot raised, PortError when it does not answer."""
        process = self.start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            self._abandon()
            raise PortError(f"SkyPilot's process has ended: {self._last_words()}") from error
        answer: dict[str, Any] = self._hear(bound_s)["answer"]
        return answer

    def start(self) -> subprocess.Popen[bytes]:
        """The running worker. Raises MissingExtra without SkyPilot, PortError when it does not start."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        if importlib.util.find_spec("sky") is None:
            raise MissingExtra("renting", "sky")
        self._unread = b""
        private(self.home.logs)
        arguments = [
            sys.executable,
            "-P",
            "-m",
            WORKER,
            USERS_OWN if self.home.users_own else str(self.home.folder),
        ]
        with open(self.home.logs / LOG_FILE, "ab") as log:
            (self.home.logs / LOG_FILE).chmod(0o600)
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.home.environment(),
                cwd=self.home.logs,
                start_new_session=True,  # Ctrl-C in the terminal is the controller's affair
            )
        self._hear(START_S)
        return self._process

    def serving(self) -> bool:
        """Whether a server of this home may be at work: ours, or one that another run of the user's holds."""
        if self._process is not None and self._process.poll() is None:
            return True
        if self.home.users_own:
            return False  # it is the user's; whether it runs is asked by starting a worker
        try:
            port = int((self.home.folder / PORT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", port)) == 0

    def close(self) -> None:
        """Let go of the server; the worker stops it if nobody else uses it. Never raises."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _hear(self, bound_s: float) -> dict[str, Any]:
        """The next line. Whoever does not answer in time is ended, because its next answer would be taken for another's."""
        assert self._process is not None and self._process.stdout is not None
        ends_at = time.monotonic() + bound_s
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                left_s = ends_at - time.monotonic()
                if left_s <= 0 or not ready.select(left_s):
                    self._abandon()
                    raise PortError(f"SkyPilot did not answer within {bound_s:.0f} s")
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    self._abandon()
                    raise PortError(f"SkyPilot's process has ended: {self._last_words()}")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise as_error(said["error"])
        return said

    def _abandon(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _last_words(self) -> str:
        log = self.home.logs / LOG_FILE
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
        return (lines[0][:300] if lines else "it said nothing") + f" (all of it: {log})"


def as_error(described: dict[str, Any]) -> SkyError:
    """An exception of SkyPilot's; the innermost failures of a failover say more than its summary."""
    inner = described.get("history") or []
    said = "; ".join(f"{one['type']}: {one['message']}" for one in inner) or described.get("message", "")
    return SkyError(str(described.get("type")), " ".join(str(said).split())[:600])
