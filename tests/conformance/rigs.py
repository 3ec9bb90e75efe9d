"""One rig a backend: what the conformance suite needs to try it, and how time passes there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from orchestrator.backends.home import HomeEscrow
from orchestrator.backends.local import LocalBox
from orchestrator.backends.simulated.faults import KINDS, Rates
from orchestrator.backends.simulated.ports import SimulatedCloud, SimulatedEscrow
from orchestrator.backends.simulated.world import Task, World
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import Cargo, Escrow, Observer, Parcel, Provider, Remote
from trainer.contract import TrainerConfig, dump_config, write_manifest

WAIT_S = 30.0
QUIET = Rates(**dict.fromkeys(KINDS, 0.0))


class Rig(Protocol):
    """Everything a test needs. ``tick`` lets time pass: for real, or virtually."""

    offer: Offer
    provider: Provider
    observer: Observer
    remote: Remote
    escrow: Escrow
    timer_s: float  # a life that is short here

    def tick(self) -> None: ...
    def parcel(self, cargo: Cargo, step: int, whole: bool) -> Parcel: ...
    def close(self) -> None: ...


class LocalRig:
    """This machine."""

    timer_s = 1.5

    def __init__(self, folder: Path) -> None:
        bundle = folder / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "train.jsonl").write_text('{"text": "a"}\n')
        config = TrainerConfig(model="no/such-model", train_file="train.jsonl", out_dir="../work")
        (bundle / "config.json").write_text(dump_config(config))
        self._folder = folder
        self.offer = Offer(backend="local", cloud="local", gpu="CPU or GPU")
        self.provider = self.observer = self.remote = LocalBox(folder / "boxes", bundle, folder / "home")
        self.escrow = HomeEscrow(folder / "home")

    def tick(self) -> None:
        time.sleep(0.05)

    def parcel(self, cargo: Cargo, step: int, whole: bool) -> Parcel:
        place = self._folder / "incoming" / f"{cargo}-{step}-{time.monotonic_ns()}"
        place.mkdir(parents=True)
        (place / "adapter_model.safetensors").write_bytes(f"{cargo} {step}".encode())
        write_manifest(place)
        if not whole:
            (place / "adapter_model.safetensors").write_bytes(b"torn")
        return Parcel(cargo=cargo, step=step, place=place)

    def close(self) -> None:
        for instance in self.observer.everything():
            self.provider.destroy(instance.name, ())
        assert self.observer.everything() == ()


class SimulatedRig:
    """A world without faults."""

    timer_s = 600.0

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
TICKS = 600


def eventually(rig: Rig, condition: Callable[[], Any]) -> None:
    """Let time pass until the condition holds; bounded."""
    end = time.monotonic() + WAIT_S
    for _ in range(TICKS):
        if condition():
            return
        assert time.monotonic() < end
        rig.tick()
    raise AssertionError("it did not come true in time")


def plain(value: Any) -> Any:
    """Structs as builtins, for messages."""
    return msgspec.to_builtins(value)
