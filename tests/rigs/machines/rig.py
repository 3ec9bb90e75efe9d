"""The rig as one object: it starts emulators in namespaces of its own, runs commands beside them, and ends all it started.

with Rig(VastCloud, RunPodCloud) as rig:
    rig.run(["sky", "launch", ...])
    rig.clouds["vast"].truth()
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
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.rigs import netns
from tests.rigs.machines import control, image

PROJECT = Path(__file__).resolve().parents[3]
START_BOUND_S = 30.0
GONE_BOUND_S = 15.0
DRIVER = "580.65.06"  # the wheels at hand are of this line
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
    """Why no rented rig can run here, with the command that enables it; None when they can."""
    if reason := netns.reason_missing():
        return reason
    if missing := [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]:
        return f"the rented rigs need {', '.join(missing)}: apt-get install -y --no-install-recommends {' '.join(missing)}"
    try:
        image.inputs()
    except ModuleNotFoundError as error:
        return f"the rented rigs need {error.name}: pip install 'cloudtune[sky,dev]'"
    return None


class Emulated:
    """The rig's side of one emulated cloud. `api_key` is the account's; `env` is what a client needs to find the API."""

    name: ClassVar[str]
    module: ClassVar[str]  # of the emulator
    env: ClassVar[dict[str, str]]

    def __init__(self, rig: Rig) -> None:
        self.rig, self.folder = rig, rig.folder / self.name
        self.api_key = f"account-{secrets.token_hex(16)}"
        self.process: subprocess.Popen[bytes] | None = None
        self._last_truth: list[dict[str, Any]] = []

    def start(self) -> None:
        """The emulator is process 1 of a pid namespace: when it ends, the kernel ends every machine and mount that it made."""
        (self.folder / "machines").mkdir(parents=True)
        settings = {"image": str(self.rig.image.folder), "python": self.rig.image.python, "api_key": self.api_key}
        (self.folder / "settings.json").touch(mode=0o600)
        (self.folder / "settings.json").write_text(json.dumps(settings))
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", sys.executable, "-m", self.module]
        with (self.folder / "emulator.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.rig.netns.enter([*argv, str(self.folder)]),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_start(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_BOUND_S
        while not (self.folder / "ready").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the emulator did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the emulator, and with it every machine; the truth is kept as it was right before."""
        if self.process is None:
            return
        if self.process.poll() is None and (self.folder / "ready").exists():
            self.truth()
        process, self.process = self.process, None
        process.kill()  # --kill-child takes the emulator along, and the kernel its pid namespace
        process.wait()

    def make_home(self, home: Path) -> None:
        """Add what the provider's setup page leaves in a user's home, and SkyPilot's price list."""
        raise NotImplementedError

    def fit(self) -> None:
        """Let every machine have a driver on which the wheels at hand run."""
        raise NotImplementedError

    # --- the side door

    def ask(self, do: str, **arguments: Any) -> Any:
        return control.ask(self.folder / "control.sock", do, **arguments)

    def truth(self) -> list[dict[str, Any]]:
        """Every instance ever created, with its true bill; after the end, as it was right before (leftovers have no `ended_at`)."""
        if self.process is not None:
            self._last_truth = self.ask("truth")
        return self._last_truth

    def misbehave(self, **faults: Any) -> dict[str, Any]:
        """Set faults by name (faults.py); the others stay as they are. Returns all of them."""
        return dict(self.ask("misbehave", **faults))

    def log(self) -> str:
        """What the API was asked, and what did not boot."""
        return (self.folder / "emulator.log").read_text()


class Rig:
    """Some emulated clouds in one network namespace. Every cloud is in `clouds`, by its name."""

    def __init__(self, *kinds: type[Emulated]) -> None:
        if reason := reason_missing():
            raise RuntimeError(reason)
        self.image = image.ensure()
        self.folder = Path(tempfile.mkdtemp(prefix="rig-"))
        self.netns = netns.Netns.make("-".join(kind.name for kind in kinds))
        self.clouds: dict[str, Emulated] = {kind.name: kind(self) for kind in kinds}
        self.env: dict[str, str] = {name: value for kind in kinds for name, value in kind.env.items()}
        self._closed = False
        try:
            for cloud in self.clouds.values():
                cloud.start()
            for cloud in self.clouds.values():
                cloud.await_start()
        except BaseException:
            self.close()
            raise

    # --- running things beside them

    def make_home(self, home: Path) -> Path:
        """A user's home as it is after the providers' setup pages, with what SkyPilot would have fetched from the network."""
        home.mkdir(parents=True, exist_ok=True)
        for cloud in self.clouds.values():
            cloud.make_home(home)
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

    # --- the books over all clouds

    def truth(self) -> list[dict[str, Any]]:
        """Every instance ever created at any of the clouds; `cloud` says where."""
        return [{"cloud": name, **row} for name, cloud in self.clouds.items() for row in cloud.truth()]

    def bill_usd(self) -> float:
        return sum(float(row["bill_usd"]) for row in self.truth())

    # --- the end

    def close(self) -> None:
        """End all that was started here, by id. Raises AssertionError when anything is left. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for cloud in self.clouds.values():
            cloud.stop()
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class OneCloudRig(Rig):
    """A rig with one cloud, whose side door is the rig's own."""

    def __init__(self, kind: type[Emulated]) -> None:
        super().__init__(kind)
        (self.cloud,) = self.clouds.values()
        self.api_key = self.cloud.api_key

    def truth(self) -> list[dict[str, Any]]:
        return self.cloud.truth()

    def misbehave(self, **faults: Any) -> dict[str, Any]:
        """See Emulated.misbehave."""
        return self.cloud.misbehave(**faults)

    def preempt(self, instance_id: int | str, notice_s: float = 0.0, everyone: bool = False) -> None:
        """Somebody else gets it: SIGTERM to its process 1, or to everyone inside, and `notice_s` later the end of all processes."""
        self.cloud.ask("preempt", id=instance_id, notice_s=notice_s, everyone=everyone)

    def vanish(self, instance_id: int | str) -> None:
        """The host is gone, and the instance with it."""
        self.cloud.ask("vanish", id=instance_id)

    def reboot(self, instance_id: int | str) -> None:
        self.cloud.ask("reboot", id=instance_id)

    def rekey(self, instance_id: int | str) -> None:
        """Other SSH host keys from the next connection on."""
        self.cloud.ask("rekey", id=instance_id)

    def log(self) -> str:
        return self.cloud.log()
