"""The rig as one object: it starts the emulator in namespaces of its own, runs commands beside it, and ends all it started.

with VastRig() as rig:
    rig.run(["vastai", "show", "instances"])
    rig.truth()
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.rigs import netns
from tests.rigs.vast import catalogs, control, image
from tests.rigs.vast.machine import API_PORT
from tests.rigs.vast.market import Offer

PROJECT = Path(__file__).resolve().parents[3]
START_BOUND_S = 30.0
GONE_BOUND_S = 15.0
_TOOLS = {
    "/usr/sbin/sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "socat": "socat",
    "sudo": "sudo",
    "curl": "curl",
    "ps": "procps",
    "patch": "patch",
}


def reason_missing() -> str | None:
    """Why the rig cannot run here, with the command that enables it; None when it can."""
    if reason := netns.reason_missing():
        return reason
    if missing := [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]:
        return f"the Vast rig needs {', '.join(missing)}: apt-get install -y --no-install-recommends {' '.join(missing)}"
    try:
        image.inputs()
    except ModuleNotFoundError as error:
        return f"the Vast rig needs {error.name}: pip install 'skypilot[vast]==0.14.1' vastai-sdk==1.9.1"
    return None


class VastRig:
    """A running rig. `api_key` is the account's; `env` is what a process inside needs to find the API."""

    def __init__(self) -> None:
        if reason := reason_missing():
            raise RuntimeError(reason)
        self.image = image.ensure()
        self.api_key = f"account-{secrets.token_hex(16)}"
        self.folder = Path(tempfile.mkdtemp(prefix="vast-rig-"))
        self.env = {"VAST_URL": f"http://127.0.0.1:{API_PORT}", "VAST_RIG_CONTROL": str(self.folder / "control.sock")}
        self.netns = netns.Netns.make("vast")
        self._last_truth: list[dict[str, Any]] = []
        self._closed = False
        try:
            self._emulator = self._start()
        except BaseException:
            self.netns.close()
            shutil.rmtree(self.folder)
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        """The emulator is process 1 of a pid namespace: when it ends, the kernel ends every machine and mount that it made."""
        (self.folder / "machines").mkdir()
        settings = {"image": str(self.image.folder), "python": self.image.python, "api_key": self.api_key}
        (self.folder / "settings.json").write_text(json.dumps(settings))
        (self.folder / "settings.json").chmod(0o600)
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        argv += [sys.executable, "-m", "tests.rigs.vast.emulator", str(self.folder)]
        with (self.folder / "emulator.log").open("ab") as log:
            process = subprocess.Popen(
                self.netns.enter(argv), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_BOUND_S
        while not (self.folder / "ready").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"the emulator did not start:\n{self.log()}")
            time.sleep(0.05)
        return process

    # --- running things beside it

    def make_home(self, home: Path) -> Path:
        """A user's home as it is after the provider's setup page: the key, and what SkyPilot would have fetched from the network."""
        key = home / ".config" / "vastai" / "vast_api_key"
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text(self.api_key)
        key.chmod(0o600)
        catalogs.seed_catalogs(home, self.offers)
        self.image.seed_wheel(home)
        return home

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """This process's environment with the rig's and `extra` over it."""
        return {**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", **self.env, **(extra or {})}

    def run(self, argv: Sequence[str], *, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """`subprocess.run` inside the namespace, as text, with output captured unless `options` say otherwise."""
        options = {"text": True, "capture_output": True, "timeout": 600, **options}
        return subprocess.run(self.netns.enter(argv), env=self.environment(env), check=options.pop("check", False), **options)

    def popen(self, argv: Sequence[str], *, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` inside the namespace. Its pid is the command's own."""
        return subprocess.Popen(self.netns.enter(argv), env=self.environment(env), **options)

    # --- the side door

    def _ask(self, do: str, **arguments: Any) -> Any:
        return control.ask(self.folder / "control.sock", do, **arguments)

    def truth(self) -> list[dict[str, Any]]:
        """Every instance ever created, with its true bill; after `close`, as it was right before (leftovers have no `ended_at`)."""
        if not self._closed:
            self._last_truth = self._ask("truth")
        return self._last_truth

    def bill_usd(self) -> float:
        return sum(float(row["bill_usd"]) for row in self.truth())

    @property
    def offers(self) -> list[Offer]:
        return [Offer(**one) for one in self._ask("offers")]

    @offers.setter
    def offers(self, offers: list[Offer]) -> None:
        self._ask("offers", set=[asdict(offer) for offer in offers])

    def misbehave(self, **faults: Any) -> dict[str, Any]:
        """Set faults by name (faults.py); the others stay as they are. Returns all of them."""
        return dict(self._ask("misbehave", **faults))

    def preempt(self, instance_id: int) -> None:
        self._ask("preempt", id=instance_id)

    def vanish(self, instance_id: int) -> None:
        self._ask("vanish", id=instance_id)

    def reboot(self, instance_id: int) -> None:
        self._ask("reboot", id=instance_id)

    def log(self) -> str:
        """What the API was asked, and what did not boot."""
        return (self.folder / "emulator.log").read_text()

    # --- the end

    def close(self) -> None:
        """End all that was started here, by id. Raises AssertionError when anything is left. Safe to call twice."""
        if self._closed:
            return
        if self._emulator.poll() is None:
            self.truth()
        self._closed = True
        self._emulator.kill()  # --kill-child takes the emulator along, and the kernel its pid namespace
        self._emulator.wait()
        self.netns.close()
        deadline = time.monotonic() + GONE_BOUND_S
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(self.folder)
        assert not left, f"left over by the rig: {left}"

    def leftovers(self) -> list[str]:
        """Processes that still hold a mount of this rig, and the namespace if it is still named."""
        left = [f"namespace {self.netns.name}"] if Path("/run/netns", self.netns.name).exists() else []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if str(self.folder) in (entry / "mountinfo").read_text():
                    left.append(f"process {entry.name}: {(entry / 'cmdline').read_text()[:200]!r}")
            except OSError:
                continue  # it ended while we looked, or is a zombie, which holds no mount
        return left

    def __enter__(self) -> VastRig:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
