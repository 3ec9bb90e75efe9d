"""A network, mount and host-name namespace, held by one process; what is in it is found by its network namespace, not by name."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Namespace:
    """Its own `lo`, its own mounts, its own host name. `close()` leaves no process, mount or namespace.

    setup: a bash script run once inside, as root, with `arguments` as $1...; RuntimeError with its output if it fails.
    """

    def __init__(self, setup: str, arguments: Sequence[str]) -> None:
        script = f"set -eu\n{setup}\necho ready\nexec sleep infinity"
        argv = ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "bash", "-c", script, "setup", *arguments]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            why = self._holder.stderr.read()
            self._close_pipes()
            self._holder.wait()
            raise RuntimeError(f"the namespace could not be set up: {why}")
        self.inode = os.stat(f"/proc/{self._holder.pid}/ns/net").st_ino

    def argv(self, command: Sequence[str], folder: str | Path = "/") -> list[str]:
        """The command as it is started from outside, in `folder`: whoever enters a mount namespace stands in its `/`.

        nsenter and env execute in place, so the pid one gets is the command's own.
        """
        return ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "--uts", "env", "-C", str(folder), *command]

    def pids(self) -> list[int]:
        """Every process inside but the holder, wherever it was started from."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != self._holder.pid and self._is_inside(pid)]

    def end(self, pids: Sequence[int], grace_s: float = 5.0) -> None:
        """SIGTERM to each, then SIGKILL to those of them that are still inside after `grace_s`."""
        for signum, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
            for pid in pids:
                if self._is_inside(pid):  # between the listing and the signal a number may have come to mean another process
                    try:
                        os.kill(pid, signum)
                    except ProcessLookupError:
                        continue  # it ended by itself, which is what was wanted
            deadline_s = time.monotonic() + wait_s
            while any(self._is_inside(pid) for pid in pids) and time.monotonic() < deadline_s:
                time.sleep(0.05)

    def close(self) -> None:
        """End all inside, then the holder; RuntimeError names what could not be ended."""
        self.end(self.pids())
        left = self.pids()
        self._holder.kill()
        self._holder.wait()
        self._close_pipes()
        if left:
            raise RuntimeError(f"processes that could not be ended: {left}")

    def _is_inside(self, pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] != "Z" and os.stat(f"/proc/{pid}/ns/net").st_ino == self.inode
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # the last: in a container even root may not look at pid 1's
            return False

    def _close_pipes(self) -> None:
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()


def environment(pid: int) -> Mapping[str, str]:
    """The environment a process was started with; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(pair.partition("=")[::2] for pair in raw.decode(errors="replace").split("\0") if "=" in pair)
