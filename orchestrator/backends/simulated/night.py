"""One night from one seed: production ``drive``, ``decide`` and journal, in controllers that are killed and restarted.

First everything may go wrong; then the faults stop, and the run must settle. ``checks.problems`` says whether what the
engine believed and did was right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.backends.simulated.faults import HARSH, Rates
from orchestrator.backends.simulated.ports import Killed, SimulatedClock, SimulatedCloud, SimulatedEscrow
from orchestrator.backends.simulated.world import NEVER, START, Task, World
from orchestrator.errors import LedgerDiskFull
from orchestrator.ledger.database import Database
from orchestrator.ledger.journal import Ledger, RunJournal, RunRecord, take_over
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.drive import drive
from orchestrator.run.events import AnyEvent, Reason
from orchestrator.run.ports import LeaseLost, Ports
from orchestrator.run.rules import ALL_RULES, Rules
from orchestrator.run.state import RunState

MAX_CONTROLLERS = 400  # restarts of one night
SETTLE_S = 72 * 3600.0  # after the faults have stopped
RUN = "night"
POLICY = Policy(poll_s=240.0, look_s=480.0, checkpoint_pull_s=900.0, retry_s=10.0, retry_cap_s=120.0, round_s=120.0)
_CARDS = (
    ("T4", 14.6, 0.18, 3.2),
    ("L4", 22.2, 0.35, 2.0),
    ("RTX3090", 23.6, 0.22, 1.3),
    ("RTX4090", 23.5, 0.38, 1.0),
    ("A100", 79.2, 1.2, 0.7),
)

Tracer = Callable[[World, RunState, AnyEvent], None]


@dataclass(kw_only=True)
class Night:
    """What happened, for the checks and the report."""

    seed: int
    world: World
    escrow: SimulatedEscrow
    state: RunState
    settled_at: float = NEVER  # true time
    controllers: int = 0
    begun_at: dict[int, float] = field(default_factory=dict)  # true time at which each attempt was begun
    surprises: list[str] = field(default_factory=list)  # rules found broken on the way


def scenario(world: World) -> tuple[float, float | None, float]:
    """Fill the world with offers and a task. Returns cap in dollars, deadline in seconds or None, and when the user stops it."""
    chance = world.chance
    chosen = sorted(chance.sample(_CARDS, chance.randint(3, 5)), key=lambda card: card[2] * card[3])
    total = chance.randint(40, 400)
    pace_s = chance.uniform(5.0, 40.0)
    world.offers = tuple(
        Offer(
            backend="simulated",
            cloud=chance.choice(("vast", "runpod")),
            region=f"r{index}",
            gpu=name,
            count=1,
            usable_gib=gib,
            usd_per_hour=round(rate * chance.uniform(0.8, 1.25), 4),
            spot=chance.random() < 0.25,
            guard="create-time",
            expected_s=total * pace_s * slowness * chance.uniform(0.85, 1.15),
        )
        for index, (name, gib, rate, slowness) in enumerate(chosen)
    )
    largest = max(offer.usable_gib for offer in world.offers)
    world.task = Task(
        total_steps=total,
        checkpoint_steps=max(5, total // chance.randint(4, 12)),
        step_s=tuple(pace_s * slowness for *_, slowness in chosen),
        needed_gib=chance.uniform(6, largest) if chance.random() < 0.2 else 6.0,
    )
    fits = [i for i, offer in enumerate(world.offers) if offer.usable_gib >= world.task.needed_gib]
    expected = min(world.offers[i].usd_per_hour * (total * world.task.step_s[i] + 900.0) / 3600.0 for i in fits)
    cap = expected * (chance.uniform(0.2, 1.2) if chance.random() < 0.1 else chance.uniform(1.5, 6.0))
    deadline_s = chance.uniform(3, 24) * 3600.0 if chance.random() < 0.15 else None
    user_stops_at = START + chance.uniform(0, 6) * 3600.0 if chance.random() < 0.05 else NEVER
    return cap, deadline_s, user_stops_at


class _Journal:
    """The production journal, whose writer may die or find the disk full, or sleep right after an intent."""

    def __init__(self, inner: RunJournal, night: _Play, depth: int) -> None:
        self._inner = inner
        self._night = night
        self._depth = depth

    def events(self) -> list[AnyEvent]:
        return self._inner.events()

    def append(self, event: AnyEvent) -> None:
        world = self._night.world
        if world.strikes("disk_full"):
            raise LedgerDiskFull("no space left on the simulated disk")
        torn = world.strikes("torn_journal_write")
        if torn and world.chance.random() < 0.5:
            raise Killed
        self._inner.append(event)
        if torn:
            raise Killed
        if self._depth == 0 and isinstance(event, ev.Intended) and world.strikes("two_controllers"):
            self._night.controller(depth=1)  # this one sleeps between intent and act, until that one has ended

    def hold_lease(self) -> None:
        self._inner.hold_lease()

    def wish(self) -> Reason | None:
        return Reason.USER if self._night.world.now >= self._night.user_stops_at else None


class _Play:
    """Controllers on one laptop, one after the other, and sometimes two at once."""

    def __init__(self, seed: int, rates: Rates, rules: Rules, ledger: Ledger, tracer: Tracer | None) -> None:
        self.world = World(seed, rates)
        self.rules = rules
        self.tracer = tracer
        self.ledger = ledger
        self.cap_usd, self.deadline_s, self.user_stops_at = scenario(self.world)
        self.cloud = SimulatedCloud(self.world)
        self.escrow = SimulatedEscrow()
        self.boots, self.offset_s = 1, 0.0
        self.night = Night(seed=seed, world=self.world, escrow=self.escrow, state=RunState())

    def plan(self) -> None:
        planned = ev.Planned(
            at=self.world.now,
            run=RUN,
            installation="sim",
            fingerprint=str(self.night.seed),
            offers=self.world.offers,
            cap_usd=self.cap_usd,
            deadline_s=self.deadline_s,
            policy=POLICY,
        )
        record = RunRecord(run=RUN, created_at=self.world.now, folder="/", source="/", fingerprint="", spec="{}")
        self.ledger.add(record, planned)

    def controller(self, depth: int = 0) -> None:
        """One controller, until it is killed, has lost its lease, has given up, or the run has settled."""
        self.night.controllers += 1
        state = self.ledger.state(RUN)
        if state.outcome is not None:
            return
        clock = SimulatedClock(self.world, f"boot{self.boots}", self.offset_s, state.last_at if self.boots > 1 else 0.0)
        self.offset_s = clock.now() - self.world.now
        ports = Ports(
            providers={"simulated": self.cloud},
            observers={"simulated": self.cloud},
            remotes={"simulated": self.cloud},
            escrow=self.escrow,
            clock=clock,
            on_event=functools.partial(self._watch, clock, self.night.controllers),
        )
        try:
            journal = take_over(self.ledger, RUN, controller=f"c{self.night.controllers}", now=clock.now())
            live = drive(_Journal(journal, self, depth), ports, controller=f"c{self.night.controllers}", rules=self.rules)
        except (Killed, LeaseLost, LedgerDiskFull):
            self._note(self.ledger.state(RUN))
            return
        if live != self.ledger.state(RUN):
            self.night.surprises.append("replaying the journal does not give the live state")

    def _watch(self, clock: SimulatedClock, controller: int, state: RunState, event: AnyEvent) -> None:
        if controller != self.night.controllers:
            return  # it slept while another took over: what it believes is old
        unread = any(a.open and a.first_seen_at is None for a in state.attempts)  # its rate may be anything
        if not unread and state.total_usd(clock.now()) < self.world.bill_usd() - 1e-6:
            self.night.surprises.append("the journal knew of less than was billed")
        self._note(state)
        if self.tracer is not None:
            self.tracer(self.world, state, event)

    def _note(self, state: RunState) -> None:
        """True times, which the journal's clock does not know."""
        if state.outcome is not None and self.night.settled_at is NEVER:
            self.night.settled_at = self.world.now
        self.night.begun_at.setdefault(len(state.attempts), self.world.now)

    def restart(self) -> None:
        """Until the user types the same command again: minutes or hours, now and then in a new boot with a wrong clock."""
        chance = self.world.chance
        self.world.nobody_for(20, 300) if chance.random() < 0.6 else self.world.nobody_for(1800, 10 * 3600)
        if chance.random() < 0.25:
            self.boots += 1
            self.offset_s = chance.uniform(-86400, 86400) if self.world.strikes("clock_jump") else 0.0


def play(seed: int, rates: Rates = HARSH, rules: Rules = ALL_RULES, *, ledger: Ledger | None = None, tracer: Tracer | None = None) -> Night:
    """One night to its end. The same seed, rates and rules give the same night to the byte."""
    ledger = ledger or Ledger(Database.in_memory())
    stage = _Play(seed, rates, rules, ledger, tracer)
    stage.plan()
    world, night = stage.world, stage.night
    while night.controllers < MAX_CONTROLLERS and world.now < world.faults_end_at + SETTLE_S:
        stage.controller()
        if ledger.state(RUN).outcome is not None:
            break
        stage.restart()
    night.state = ledger.state(RUN)
    ledger.forget(RUN)
    return night


def trace_line(world: World, state: RunState, event: AnyEvent) -> dict[str, Any]:
    """One event with the truth beside the journal's view."""
    import msgspec

    return {
        "t_s": round(world.now - START, 1),
        "event": msgspec.to_builtins(event),
        "truth": {"alive": [m.name for m in world.alive(world.now)], "bill_usd": round(world.bill_usd(), 6)},
        "journal": {
            "phase": state.phase.value,
            "spent_usd": round(state.total_usd(event.at), 6),
            "cap_usd": round(state.cap_usd or 0.0, 6),
            "checkpoint_step": state.checkpoint_step,
            "outcome": state.outcome.value if state.outcome else None,
        },
    }
