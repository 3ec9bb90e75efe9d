"""The only loop: decide, journal the intent, act, journal the outcome. A restart is a resume.

Must not decide anything itself: it turns commands into port calls and what came back into events.
"""

from __future__ import annotations

from typing import Any

from orchestrator.run import events as ev
from orchestrator.run.decide import decide
from orchestrator.run.events import AnyCommand, AnyEvent, Reason
from orchestrator.run.ports import Cargo, Journal, NoCapacity, PortError, Ports, Refused
from orchestrator.run.rules import ALL_RULES, Rules
from orchestrator.run.state import RunState, apply, fold
from trainer.contract import Kind

MAX_DETAIL_CHARS = 500


def drive(journal: Journal, ports: Ports, *, controller: str, rules: Rules = ALL_RULES) -> RunState:
    """Take a planned run to its end, or to the point where only a later command can go on.

    Returns the settled state, or an unsettled one when the teardown could not be proved in time. Raises LeaseLost when
    another controller has taken over.
    """
    loop = _Loop(journal, ports, rules)
    clock = ports.clock
    loop.record(ev.Resumed(at=clock.now(), controller=controller, boot=clock.boot, steady_s=clock.steady_s()))
    while True:
        loop.hear_wishes()
        command = decide(loop.state, ports.clock.now(), rules)
        if isinstance(command, (ev.Done, ev.GiveUp)):
            return loop.state
        if isinstance(command, ev.Wait):
            ports.clock.sleep(command.seconds, loop.wanted)
            journal.hold_lease()
        else:
            loop.carry_out(command)


class _Loop:
    """State and journal kept in step; one instance a controller."""

    def __init__(self, journal: Journal, ports: Ports, rules: Rules) -> None:
        self._journal = journal
        self._ports = ports
        self._rules = rules
        self.state = fold(journal.events())

    def record(self, event: AnyEvent) -> None:
        """Journal first, then believe."""
        self._journal.append(event)
        self.state = apply(self.state, event)
        self._ports.on_event(self.state, event)

    def wanted(self) -> bool:
        """Whether somebody has asked for the end and it is not journalled yet."""
        return self.state.stop_wanted is None and (self._ports.interrupted() or self._journal.wish()) is not None

    def hear_wishes(self) -> None:
        if self.state.stop_wanted is None:
            wish = self._ports.interrupted() or self._journal.wish()
            if wish is not None:
                self.record(ev.StopWanted(at=self._ports.clock.now(), reason=wish))

    def carry_out(self, command: AnyCommand) -> None:
        """One command: intent, act, outcome."""
        clock = self._ports.clock
        if isinstance(command, (ev.Doom, ev.Close, ev.Settle)):
            self.record(ev.Concluded(at=clock.now(), command=command))
            return
        intent = ev.Intended(at=clock.now(), command=command)
        late_intent = isinstance(command, ev.Create) and not self._rules.intent_first
        if isinstance(command, ev.EFFECTS) and not late_intent:
            self.record(intent)
        if self._rules.one_controller:
            self._journal.hold_lease()
        outcomes = self._act(command)
        if late_intent:
            self.record(ev.Intended(at=clock.now(), command=command))
        for outcome in outcomes:
            self.record(outcome)

    def _act(self, command: AnyCommand) -> tuple[AnyEvent, ...]:
        number: int = getattr(command, "attempt", 0)
        try:
            return self._poll(command) if isinstance(command, ev.Poll) else (self._call(command),)
        except (NoCapacity, Refused) as error:
            reason = Reason.NO_CAPACITY if isinstance(error, NoCapacity) else Reason.REFUSED
            if isinstance(command, ev.Create):
                return (ev.CreateFailed(at=self._now(), attempt=number, reason=reason, definite=True, detail=_detail(error)),)
            return (ev.Failed(at=self._now(), attempt=number, action=_tag(command), detail=_detail(error)),)
        except PortError as error:
            if isinstance(command, ev.Create):
                reason = Reason.CREATE_FAILED
                return (ev.CreateFailed(at=self._now(), attempt=number, reason=reason, definite=False, detail=_detail(error)),)
            return (ev.Failed(at=self._now(), attempt=number, action=_tag(command), detail=_detail(error)),)

    def _now(self) -> float:
        return self._ports.clock.now()

    def _call(self, command: AnyCommand) -> AnyEvent:
        """The port call behind a command, and the event of its success."""
        if isinstance(command, ev.Create):
            offer = self.state.offers[command.offer]
            instance_id = self._ports.providers[offer.backend].create(offer, command.name, command.timer_s)
            return ev.Created(at=self._now(), attempt=command.attempt, instance_id=instance_id)
        number: int = getattr(command, "attempt", 0)
        backend = self.state.offers[self.state.attempts[number - 1].offer].backend
        provider, remote = self._ports.providers[backend], self._ports.remotes[backend]
        if isinstance(command, ev.Look):
            listed = self._ports.observers[backend].instances(command.name)
            return ev.Seen(at=self._now(), attempt=number, instances=listed)
        if isinstance(command, ev.Destroy):
            provider.destroy(command.name, command.ids)
            return ev.DestroySent(at=self._now(), attempt=number)
        if isinstance(command, ev.Arm):
            provider.arm(command.name, command.life_s)
            return ev.Armed(at=self._now(), attempt=number)
        if isinstance(command, ev.Upload):
            files, sent_bytes = remote.upload(command.name)
            return ev.Uploaded(at=self._now(), attempt=number, files=files, sent_bytes=sent_bytes)
        if isinstance(command, ev.Submit):
            checkpoint = self._ports.escrow.checkpoint() if command.checkpoint_step else None
            job = remote.submit(command.name, command.stop_in_s, checkpoint)
            return ev.Submitted(at=self._now(), attempt=number, job=job)
        if isinstance(command, ev.AskStop):
            remote.ask_stop(command.name)
            return ev.StopAsked(at=self._now(), attempt=number)
        assert isinstance(command, (ev.Pull, ev.FetchCheckpoint)), command  # Doom, Close, Settle, Wait, Done, GiveUp call no port
        return self._fetch(command)

    def _poll(self, command: ev.Poll) -> tuple[AnyEvent, ...]:
        attempt = self.state.attempts[command.attempt - 1]
        backend = self.state.offers[attempt.offer].backend
        news = self._ports.remotes[backend].poll(command.name, command.cursor)
        self._ports.on_news(command.attempt, command.cursor, news)
        happened: list[AnyEvent] = []
        if news.raw or not (news.result or news.lost):
            happened.append(ev.Progressed(at=self._now(), attempt=command.attempt, cursor=news.cursor, **digest(news.lines)))
        if news.result is not None:
            happened.append(ev.JobEnded(at=self._now(), attempt=command.attempt, result=news.result))
        elif news.lost:
            happened.append(ev.JobLost(at=self._now(), attempt=command.attempt))
        return tuple(happened)

    def _fetch(self, command: ev.Pull | ev.FetchCheckpoint) -> AnyEvent:
        backend = self.state.offers[self.state.attempts[command.attempt - 1].offer].backend
        cargo: Cargo = "adapter" if isinstance(command, ev.Pull) else "checkpoint"
        parcel = self._ports.remotes[backend].fetch(command.name, cargo)
        files = self._ports.escrow.verify(parcel) if self._rules.hashed_pull else {"unverified": ""}
        self._ports.escrow.keep(parcel)
        if cargo == "adapter":
            return ev.Pulled(at=self._now(), attempt=command.attempt, files=files)
        return ev.CheckpointHome(at=self._now(), attempt=command.attempt, step=parcel.step)


def digest(lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """What the engine and the views need of a batch of progress lines, as fields of Progressed."""
    found: dict[str, Any] = {"latest": {}}
    latest: dict[str, Any] = found["latest"]
    for line in lines:
        kind = line.get("kind")
        if kind == Kind.STEP:
            found |= {"step": int(line.get("step", 0)), "total_steps": int(line.get("total_steps", 0))}
            latest |= {k: line[k] for k in ("loss", "tokens_per_s", "peak_memory_bytes", "tokens") if k in line}
        elif kind == Kind.CHECKPOINT:
            found["checkpoint_step"] = int(line.get("step", 0))
        elif kind == Kind.PHASE:
            latest |= {"phase": str(line.get("name", "")), "evaluated": 0}
        elif kind == Kind.PLAN:
            found["total_steps"] = int(line.get("total_steps", 0))
            latest |= {k: line[k] for k in ("train_rows", "eval_rows", "device", "precision") if k in line}
        elif kind == Kind.EVALUATION:
            latest[f"score_{line.get('when', '')}"] = line.get("value")
            latest["metric"] = line.get("metric")
        elif kind == Kind.EVALUATING:
            latest |= {"evaluated": line.get("done"), "to_evaluate": line.get("rows")}
        elif kind == Kind.NOTICE:
            latest["notice"] = str(line.get("text", ""))
    return found


def _tag(command: AnyCommand) -> str:
    return str(command.__struct_config__.tag)


def _detail(error: Exception) -> str:
    return str(error)[:MAX_DETAIL_CHARS] or type(error).__name__
