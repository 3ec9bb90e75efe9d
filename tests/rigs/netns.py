"""A network namespace of the rig's own, in which only `lo` is up: nothing that runs inside can reach an outside address.

Needs root and iproute2. What runs inside is ended by process id; the ids come from the kernel's own list of who is in the namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 3.0  # between SIGTERM and SIGKILL
GONE_BOUND_S = 20.0


def reason_missing() -> str | None:
    """What keeps a namespace from being made here, with the command that enables it; None when nothing does."""
    if not Path("/proc/self/ns/net").exists():
        return "the rigs need Linux network namespaces"
    if os.geteuid() != 0:
        return "the rigs need root (namespaces, overlay mounts): run the same command with sudo"
    missing = [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install -y --no-install-recommends iproute2 util-linux"
    return None


@dataclass(frozen=True, kw_only=True)
class Netns:
    """One namespace, by its name under /run/netns. Make it with `Netns.make`, end it with `close`."""

    name: str

    @classmethod
    def make(cls, prefix: str) -> Netns:
        """A fresh namespace `<prefix>-<pid>-<n>` with `lo` up, so that several rigs can run at once."""
        taken = set(_run(["ip", "netns", "list"]).split())
        name = next(name for n in range(1000) if (name := f"{prefix}-{os.getpid()}-{n}") not in taken)
        _run(["ip", "netns", "add", name])
        _run(["ip", "-n", name, "link", "set", "lo", "up"])
        return cls(name=name)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside. nsenter replaces itself, so the process id is the command's own."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *argv]

    def pids(self) -> list[int]:
        """Who is inside now (machines that the rig boots have a namespace of their own and are not listed)."""
        return [int(pid) for pid in _run(["ip", "netns", "pids", self.name]).split()]

    def close(self) -> None:
        """End everyone inside by id, then the namespace. Raises TimeoutError when somebody outlives SIGKILL."""
        deadline = time.monotonic() + GONE_BOUND_S
        how = signal.SIGTERM
        while pids := self.pids():
            for pid in pids:
                _signal(pid, how)
            patience = min(deadline, time.monotonic() + GRACE_S)
            while self.pids() and time.monotonic() < patience:
                time.sleep(0.05)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"still inside {self.name} after SIGKILL: {self.pids()}")
            how = signal.SIGKILL
        _run(["ip", "netns", "delete", self.name])


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return  # it ended by itself between the listing and now


def _run(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
