"""The loop itself, on a world without faults: intent before act, wishes heard, errors turned into events."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.backends.simulated.faults import KINDS, Rates
from orchestrator.backends.simulated.night import POLICY
from orchestrator.backends.simulated.ports import SimulatedClock, SimulatedCloud, SimulatedEscrow
from orchestrator.backends.simulated.world import Task, World
from orchestrator.ledger.database import Database
from orchestrator.ledger.journal import Ledger, RunRecord, take_over
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.drive import drive
from orchestrator.run.events import Outcome, Reason
from orchestrator.run.ports import News, PortError, Ports, Refused
from orchestrator.run.rules import Rules
from orchestrator.run.state import RunState

QUIET = Rates(**dict.fromkeys(KINDS, 0.0))


class Stage:
    """One run on one quiet world; ``cloud`` may be spoilt by a test."""

    def __init__(self, **plan: Any) -> None:
        self.world = World(5, QUIET)
        offer = Offer(backend="simulated", cloud="vast", gpu="T4", count=1, usable_gib=14.6, usd_per_hour=0.2, guard="create-time")
        self.world.offers = (offer,)
        self.world.task = Task(total_steps=50, checkpoint_steps=10, step_s=(20.0,), needed_gib=6.0)
        self.cloud = SimulatedCloud(self.world)
        self.ledger = Ledger(Database.in_memory())
        self.interrupt: Reason | None = None
        fields: dict[str, Any] = {"cap_usd": 5.0, "deadline_s": None, "policy": POLICY} | plan
        first = ev.Planned(at=self.world.now, run="r", installation="i", fingerprint="f", offers=(offer,), **fields)
        self.ledger.add(RunRecord(run="r", created_at=0.0, folder="/", source="/", fingerprint="", spec="{}"), first)

    def run(self, rules: Rules | None = None) -> RunState:
        clock = SimulatedClock(self.world, "boot1", 0.0, 0.0)
        box: dict[str, Any] = {"simulated": self.cloud}
        ports = Ports(providers=box, observers=box, remotes=box, escrow=SimulatedEscrow(), clock=clock, interrupted=lambda: self.interrupt)
        journal = take_over(self.ledger, "r", controller="c", now=clock.now())
        return drive(journal, ports, controller="c", rules=rules or Rules())

    def kinds(self) -> list[str]:
        return [str(type(event).__struct_config__.tag) for event in self.ledger.events("r")]


def test_a_quiet_run_succeeds_and_leaves_nothing() -> None:
    stage = Stage()
    state = stage.run()
    assert (state.outcome, state.reason) == (Outcome.SUCCEEDED, Reason.COMPLETED)
    assert not stage.world.alive(stage.world.now) and state.spent_usd >= stage.world.bill_usd() > 0.0
    kinds = stage.kinds()
    assert kinds.index("intended") < kinds.index("created"), "the intent is journalled before the act"
    assert stage.run() == stage.ledger.state("r"), "driving a settled run changes nothing but the journal's last line"


def test_a_wish_from_another_process_and_from_the_terminal() -> None:
    stage = Stage()
    stage.ledger.wish("r", Reason.USER, 0.0)
    assert stage.run().outcome == Outcome.STOPPED
    stage = Stage()
    stage.interrupt = Reason.INTERRUPT
    assert stage.run().outcome == Outcome.INTERRUPTED
    assert stage.ledger.beat_at("r") is not None and stage.ledger.beat_at("nobody") is None


@pytest.mark.parametrize("error", [PortError("d" * 9999), Refused("403"), PortError()])
def test_every_port_error_becomes_an_event(error: PortError, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    real, calls = stage.cloud.upload, []

    def upload(name: str) -> tuple[int, int]:
        calls.append(name)
        if len(calls) == 1:
            raise error
        return real(name)

    monkeypatch.setattr(stage.cloud, "upload", upload)
    assert stage.run().outcome == Outcome.SUCCEEDED
    (failed,) = [e for e in stage.ledger.events("r") if isinstance(e, ev.Failed)]
    assert failed.action == "upload" and 0 < len(failed.detail) <= 500


def test_anything_else_is_a_bug_and_stops_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.cloud, "instances", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stage.run()
    assert stage.kinds()[-1] == "created", "what was done is journalled; the next controller goes on from there"


def test_a_teardown_that_cannot_be_proved_leaves_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.cloud, "destroy", lambda name, ids: None)
    monkeypatch.setattr(stage.world, "alive", stage.world.alive)
    state = stage.run()
    assert state.outcome is None and state.attempt is not None and state.attempt.destroys > 3
    monkeypatch.undo()
    assert stage.run().outcome == Outcome.SUCCEEDED, "the next command goes on from there"


def test_without_intent_first_the_create_is_journalled_too_late() -> None:
    stage = Stage()
    stage.run(Rules.without("intent_first"))
    kinds = stage.kinds()
    assert kinds.index("intended") == kinds.index("created") - 1


def test_a_result_may_come_without_new_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    real = stage.cloud.poll

    def poll(name: str, cursor: int) -> News:
        news = real(name, cursor)
        return dataclasses.replace(news, raw=b"", lines=()) if news.result is not None else news

    monkeypatch.setattr(stage.cloud, "poll", poll)
    assert stage.run().outcome == Outcome.SUCCEEDED
