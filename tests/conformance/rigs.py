"""One rig a backend: what the conformance suite needs to try it, and how time passes there."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from orchestrator.backends.home import HomeEscrow
from orchestrator.backends.local import LocalBox
from orchestrator.backends.offers.slurm import prices, slurm_offers
from orchestrator.backends.simulated.faults import KINDS, Rates
from orchestrator.backends.simulated.ports import SimulatedCloud, SimulatedEscrow
from orchestrator.backends.simulated.world import Task, World
from orchestrator.backends.skypilot.box import Load, SkyBox
from orchestrator.backends.skypilot.client import SkyClient
from orchestrator.backends.skypilot.direct import runpod_reach, vast_reach
from orchestrator.backends.skypilot.home import SkyHome
from orchestrator.backends.skypilot.rent import Orders, Reach, SkyRenter
from orchestrator.backends.skypilot.slurm import SlurmReach
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import Cargo, Escrow, Observer, Parcel, Provider, Remote
from trainer.contract import TrainerConfig, dump_config, write_manifest

VAST_HOME = "CONFORMANCE_VAST_HOME"  # SkyPilot home that a rig has made ready
RUNPOD_HOME = "CONFORMANCE_RUNPOD_HOME"  # the same
SLURM_HOME = "CONFORMANCE_SLURM_HOME"  # the same beside a cluster
QUIET = Rates(**dict.fromkeys(KINDS, 0.0))


class Rig(Protocol):
    """Everything a test needs. ``tick`` lets time pass: for real, or virtually."""

    offer: Offer
    provider: Provider
    observer: Observer
    remote: Remote
    escrow: Escrow
    timer_s: float  # a life that is short here
    wait_s: float  # longest wait for anything

    parcel: Callable[[Cargo, int, bool], Parcel]

    def tick(self) -> None: ...
    def close(self) -> None: ...


def write_small_bundle(bundle: Path) -> Path:
    """A job that ends by itself, soon: there is no such model."""
    bundle.mkdir(parents=True)
    (bundle / "train.jsonl").write_text('{"text": "a"}\n')
    config = TrainerConfig(model="no/such-model", train_file="train.jsonl", out_dir="../work")
    (bundle / "config.json").write_text(dump_config(config))
    return bundle


def parcels(folder: Path) -> Callable[[Cargo, int, bool], Parcel]:
    """What makes parcels below ``folder`` as if they had just been fetched."""

    def parcel(cargo: Cargo, step: int, whole: bool) -> Parcel:
        place = folder / "incoming" / f"{cargo}-{step}-{time.monotonic_ns()}"
        place.mkdir(parents=True)
        (place / "adapter_model.safetensors").write_bytes(f"{cargo} {step}".encode())
        write_manifest(place)
        if not whole:
            (place / "adapter_model.safetensors").write_bytes(b"torn")
        return Parcel(cargo=cargo, step=step, place=place)

    return parcel


class LocalRig:
    """This machine."""

    timer_s = 1.5
    wait_s = 30.0

    def __init__(self, folder: Path) -> None:
        bundle = write_small_bundle(folder / "bundle")
        self.parcel = parcels(folder)
        self.offer = Offer(backend="local", cloud="local", gpu="CPU or GPU")
        self.provider = self.observer = self.remote = LocalBox(folder / "boxes", bundle, folder / "home")
        self.escrow = HomeEscrow(folder / "home")

    def tick(self) -> None:
        time.sleep(0.05)

    def close(self) -> None:
        for instance in self.observer.everything():
            self.provider.destroy(instance.name, ())
        assert self.observer.everything() == ()


class SkyRig:
    """What an emulated place beside which this process was started has, through the real SkyPilot. ``variable`` names its SkyPilot home."""

    variable: ClassVar[str]
    gone_s: ClassVar[float]
    _clients: ClassVar[dict[str, SkyClient]] = {}  # their servers take seconds to start, and are one for all tests

    def __init__(self, folder: Path) -> None:
        home = Path(os.environ[self.variable])
        os.environ["HOME"] = str(home.parent / "home")  # the user's, with the credential; each test begins with another
        if self.variable not in self._clients:
            self._clients[self.variable] = SkyClient(SkyHome(home))
            atexit.register(self._clients[self.variable].close)
        client, orders = self._clients[self.variable], Orders(folder / "home")
        self.offer, self._reach = self.found(client, folder)
        renter = SkyRenter(client, {self.offer.place: self._reach}, orders, disk_gib=8.0, tolerance=0.02)
        self.provider = self.observer = renter
        self.remote = SkyBox(write_small_bundle(folder / "bundle"), folder / "home", Load(disk_gib=1.0), renter.shell, orders.gpus)
        self.escrow = HomeEscrow(folder / "home")
        self.parcel = parcels(folder)

    def found(self, client: SkyClient, folder: Path) -> tuple[Offer, Reach]:
        """What is rented there, and how it is reached."""
        raise NotImplementedError

    def tick(self) -> None:
        time.sleep(0.5)

    def close(self) -> None:
        for instance in self.observer.everything():
            self.provider.destroy(instance.name, ())
        self._reach.close()
        ends_at = time.monotonic() + self.gone_s
        while self.observer.everything() and time.monotonic() < ends_at:
            self.tick()
        assert self.observer.everything() == ()


class VastRig(SkyRig):
    """The marketplace."""

    variable = VAST_HOME
    timer_s = 12.0
    wait_s = 90.0
    gone_s = 0.0

    def found(self, client: SkyClient, folder: Path) -> tuple[Offer, Reach]:
        offer = Offer(
            backend="skypilot", cloud="vast", region="US", instance_type="1x-RTX_4090-8-16384", gpu="RTX4090", count=1, usable_gib=23.5,
            usd_per_hour=0.36, guard="create-time",
        )  # fmt: skip
        return offer, vast_reach(client, folder)


class RunPodRig(SkyRig):
    """Pods."""

    variable = RUNPOD_HOME
    timer_s = 20.0  # an instant by the cloud's clock, set before SkyPilot has begun
    wait_s = 90.0
    gone_s = 0.0

    def found(self, client: SkyClient, folder: Path) -> tuple[Offer, Reach]:
        offer = Offer(
            backend="skypilot", cloud="runpod", instance_type="1x_RTX4090_SECURE", gpu="RTX4090", count=1, usable_gib=23.5,
            usd_per_hour=0.70, guard="create-time",
        )  # fmt: skip
        return offer, runpod_reach(client, folder)


class SlurmRig(SkyRig):
    """The cluster, where SkyPilot's timers count whole minutes."""

    variable = SLURM_HOME
    timer_s = 60.0
    wait_s = 240.0
    gone_s = 30.0  # a cancelled job is listed until its processes have ended

    def found(self, client: SkyClient, folder: Path) -> tuple[Offer, Reach]:
        offer = next(one for one in slurm_offers("rig", prices("rig"), "2026-01-01") if one.gpu == "T4" and one.count == 1)
        return offer, SlurmReach(client, folder, "rig")


class SimulatedRig:
    """A world without faults."""

    timer_s = 600.0
    wait_s = 30.0

    def __init__(self, folder: Path) -> None:
        self.world = World(1, QUIET)
        self.offer = Offer(backend="simulated", cloud="vast", gpu="T4", count=1, usable_gib=14.6, usd_per_hour=0.2, guard="create-time")
        self.world.offers = (self.offer,)
        self.world.task = Task(total_steps=20, checkpoint_steps=5, step_s=(10.0,), needed_gib=6.0)
        self.provider = self.observer = self.remote = SimulatedCloud(self.world)
        self.escrow = SimulatedEscrow()

    def tick(self) -> None:
        self.world.passes(5, 15)

    def parcel(self, cargo: Cargo, step: int, whole: bool) -> Parcel:
        return Parcel(cargo=cargo, step=step, place=Path(f"step-{step}-{'whole' if whole else 'truncated'}"))

    def close(self) -> None:
        return None


RIGS: dict[str, Callable[[Path], Rig]] = {"local": LocalRig, "simulated": SimulatedRig}
if os.environ.get(VAST_HOME):  # set by tests/rigs/test_conformance.py, which runs the suite beside an emulated cloud
    RIGS = {"vast": VastRig}
elif os.environ.get(RUNPOD_HOME):
    RIGS = {"runpod": RunPodRig}
elif os.environ.get(SLURM_HOME):
    RIGS = {"slurm": SlurmRig}
TICKS = 6000


def eventually(rig: Rig, condition: Callable[[], Any]) -> None:
    """Let time pass until the condition holds; bounded."""
    end = time.monotonic() + rig.wait_s
    for _ in range(TICKS):
        if condition():
            return
        assert time.monotonic() < end
        rig.tick()
    raise AssertionError("it did not come true in time")


def plain(value: Any) -> Any:
    """Structs as builtins, for messages."""
    return msgspec.to_builtins(value)
