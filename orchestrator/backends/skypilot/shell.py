"""Commands and files on an instance, through the user's own OpenSSH: one connection, host key pinned at first sight.

Nothing given by a user becomes part of a command: scripts are constants, what varies travels as arguments or on
standard input. Every call is bounded and raises PortError.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import selectors
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.run.ports import PortError, Refused

CONNECT_S = 15
SHORT_S = 60.0
STALL_S = 60.0  # a stream on which nothing moves for so long is given up
CHUNK = 1 << 18
LOST_CODE = 255  # ssh's own exit code


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where an instance listens. ``through``: what stands before every command there (Slurm: an ``srun``)."""

    host: str
    port: int
    user: str
    key: Path
    through: tuple[str, ...] = ()


class Shell:
    """One instance. ``known_hosts``: a file of this instance alone, in which its key is pinned."""

    def __init__(self, address: Address, known_hosts: Path) -> None:
        ssh = shutil.which("ssh")
        if ssh is None:
            raise Refused("OpenSSH's client is needed to speak with an instance, and there is no ssh on this machine")
        self._ssh = ssh
        self.address = address
        self._known_hosts = known_hosts
        self._sockets = tempfile.TemporaryDirectory(prefix="ct-ssh-")  # short: a socket's path has at most 104 characters

    def run(self, script: str, *arguments: str, given: bytes = b"", bound_s: float = SHORT_S) -> bytes:
        """Run a constant sh script with ``arguments`` as $1, $2, …; its output. Raises PortError when it fails."""
        try:
            ended = subprocess.run(self._command(script, arguments), input=given, capture_output=True, timeout=bound_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise PortError(f"the instance did not answer within {bound_s:.0f} s") from error
        except OSError as error:
            raise PortError(f"ssh: {error.strerror or error}") from error
        if ended.returncode != 0:
            raise PortError(_why(ended.returncode, ended.stderr))
        return ended.stdout

    def detach(self, script: str, *arguments: str) -> None:
        """Start a constant sh script that goes on by itself, whatever becomes of us, of this call and of its step."""
        there = shlex.join([*self.address.through, "sh", "-c", script, "cloudtune", *arguments])
        line = f"setsid nohup {there} </dev/null >/dev/null 2>&1 &"
        try:
            ended = subprocess.run(
                [self._ssh, *self._options(), "--", self.address.host, line], capture_output=True, timeout=SHORT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PortError(f"ssh: {error}") from error
        if ended.returncode != 0:
            raise PortError(_why(ended.returncode, ended.stderr))

    def send(self, files: Iterable[tuple[Path, str]], folder: str, on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Files as (path here, path below ``folder`` there); what is there is replaced. Raises PortError."""
        process = self._stream(
            'mkdir -p "$1" && umask 077 && tar -C "$1" -xzf -', (folder,), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stdin is not None
        try:
            with (
                gzip.GzipFile(fileobj=_Sink(process.stdin, on_bytes), mode="wb", compresslevel=1, mtime=0) as packed,
                tarfile.open(mode="w|", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
            ):
                for path, name in files:
                    archive.add(path, arcname=name, recursive=False, filter=_anonymous)
            process.stdin.close()
            process.stdin = None
        except OSError as error:
            said = self._end(process)
            raise PortError(f"upload: {said or error.strerror or error}") from error
        self._finish(process, "upload")

    def receive(self, folder: str, target: Path, bound_s: float) -> None:
        """Everything below ``folder`` there into the empty folder ``target`` here. Raises PortError."""
        process = self._stream('cd "$1" && tar -cf - .', (folder,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            with tarfile.open(mode="r|", fileobj=_Source(process.stdout, bound_s)) as archive:
                archive.extractall(target, filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            self._end(process)
            raise PortError(f"what came from the instance is not whole: {error}") from error
        self._finish(process, "download")

    def close(self) -> None:
        """End the connection. Never raises."""
        leave = [self._ssh, "-O", "exit", *self._options(), self.address.host]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(leave, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        self._sockets.cleanup()

    # --- the command line -------------------------------------------------------------------------------------------

    def _options(self) -> list[str]:
        address = self.address
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self._known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "6",
            "ControlMaster": "auto",
            "ControlPersist": "120",
            "ControlPath": f"{self._sockets.name}/%C",
            "ForwardAgent": "no",
            "LogLevel": "ERROR",
        }
        options = ["-F", "none", "-i", str(address.key), "-p", str(address.port), "-l", address.user]
        for name, value in settings.items():
            options += ["-o", f"{name}={value}"]
        return options

    def _command(self, script: str, arguments: tuple[str, ...]) -> list[str]:
        there = shlex.join([*self.address.through, "sh", "-c", script, "cloudtune", *arguments])
        return [self._ssh, *self._options(), "--", self.address.host, there]

    def _stream(self, script: str, arguments: tuple[str, ...], *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        self._connect()
        try:
            return subprocess.Popen(self._command(script, arguments), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        except OSError as error:
            raise PortError(f"ssh: {error.strerror or error}") from error

    def _connect(self) -> None:
        """The connection that later calls share, so that a stream's standard error is the command's own."""
        self.run("true", bound_s=CONNECT_S * 2)

    def _finish(self, process: subprocess.Popen[bytes], what: str) -> None:
        try:
            _, said = process.communicate(timeout=STALL_S)
        except subprocess.TimeoutExpired as error:
            self._end(process)
            raise PortError(f"{what}: the instance did not finish within {STALL_S:.0f} s") from error
        if process.returncode != 0:
            raise PortError(f"{what}: {_why(process.returncode, said)}")

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """Kill it; what it had said."""
        process.kill()
        process.wait()
        said = process.stderr.read() if process.stderr is not None else b""
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return " ".join(said.decode(errors="replace").split())[-300:]


class _Sink(io.RawIOBase):
    """Writes to a pipe that may stall. Counts."""

    def __init__(self, pipe: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._pipe = pipe
        self._on_bytes = on_bytes
        os.set_blocking(pipe.fileno(), False)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        view = memoryview(data)
        with selectors.DefaultSelector() as ready:
            ready.register(self._pipe, selectors.EVENT_WRITE)
            while view:
                if not ready.select(STALL_S):
                    raise OSError(f"nothing was taken for {STALL_S:.0f} s")
                view = view[os.write(self._pipe.fileno(), view[:CHUNK]) :]
        self._on_bytes(len(data))
        return len(data)


class _Source(io.RawIOBase):
    """Reads from a pipe that may stall."""

    def __init__(self, pipe: IO[bytes], bound_s: float) -> None:
        self._pipe = pipe
        self._ends_at = time.monotonic() + bound_s

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._pipe, selectors.EVENT_READ)
            while size < 0 or len(found) < size:
                if time.monotonic() > self._ends_at:
                    raise OSError("it took too long")
                if not ready.select(STALL_S):
                    raise OSError(f"nothing came for {STALL_S:.0f} s")
                chunk = os.read(self._pipe.fileno(), CHUNK if size < 0 else min(CHUNK, size - len(found)))
                if not chunk:
                    break
                found += chunk
        return bytes(found)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's name or number travels; times do, because they cost nothing and help to read logs."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _why(code: int, said: bytes) -> str:
    text = " ".join(said.decode(errors="replace").split())[-300:]
    if code == LOST_CODE:
        return f"the instance cannot be reached: {text or 'ssh said nothing'}"
    return f"exit code {code} on the instance: {text or 'it said nothing'}"
