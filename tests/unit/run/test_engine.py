"""``apply`` and ``decide`` are total over any journal, and a few decisions are pinned by hand."""

from __future__ import annotations

import typing

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.ledger.journal import decode, encode
from orchestrator.run import events as ev
from orchestrator.run.decide import decide
from orchestrator.run.events import AnyCommand, AnyEvent
from orchestrator.run.rules import RULE_NAMES, Rules
from orchestrator.run.state import Phase, RunState, apply, fold
from tests.unit.run import strategies as any_

COMMANDS = typing.get_args(AnyCommand)


def test_the_strategies_cover_every_event() -> None:
    assert {ev.Planned, *any_.by_kind} == set(typing.get_args(AnyEvent))


class Journals(RuleBasedStateMachine):
    """Any events in any order: the state stays sound, and there is always something to do next."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RunState()
        self.journal: list[AnyEvent] = []

    def _take(self, event: AnyEvent) -> None:
        before = self.state
        self.state = apply(before, event)
        self.journal.append(event)
        assert self.state.last_at >= before.last_at, "journal time ran backwards"
        assert self.state.checkpoint_step >= before.checkpoint_step or not before.run, "a checkpoint at home was forgotten"
        assert len(self.state.attempts) >= len(before.attempts)
        assert self.state.outcome == before.outcome or before.outcome is None, "a settled run changed its end"

    @rule(event=any_.planned)
    def plan(self, event: ev.Planned) -> None:
        self._take(event)

    @rule(event=any_.news)
    def happens(self, event: AnyEvent) -> None:
        self._take(event)

    @rule(ahead_s=st.floats(-1e5, 1e5))
    def obey(self, ahead_s: float) -> None:
        """Do what decide says, as the journal would record it."""
        now = self.state.last_at + ahead_s
        command = decide(self.state, now)
        if isinstance(command, (ev.Doom, ev.Close, ev.Settle)):
            self._take(ev.Concluded(at=now, command=command))
        elif isinstance(command, ev.EFFECTS):
            self._take(ev.Intended(at=now, command=command))

    @invariant()
    def something_to_do(self) -> None:
        for rules in (Rules(), *(Rules.without(name) for name in RULE_NAMES)):
            command = decide(self.state, self.state.last_at + 30.0, rules)
            assert isinstance(command, COMMANDS)
            if isinstance(command, ev.Wait):
                assert 0.0 < command.seconds <= 3600.0
        assert self.state.phase in Phase
        assert self.state.total_usd(self.state.last_at) >= 0.0

    @invariant()
    def replay_is_the_state(self) -> None:
        assert fold([decode(encode(event)) for event in self.journal]) == self.state


TestJournals = Journals.TestCase
TestJournals.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(any_.planned, st.lists(any_.news, max_size=30), st.floats(0, 1e7))
@settings(max_examples=300, deadline=None)
def test_a_settled_run_is_done(first: ev.Planned, rest: list[AnyEvent], now: float) -> None:
    state = fold([first, *rest])
    command = decide(state, now)
    assert isinstance(command, ev.Done) == (state.outcome is not None)


@given(any_.news)
def test_events_survive_the_journal(event: AnyEvent) -> None:
    assert decode(encode(event)) == event
    assert msgspec.json.decode(encode(event))["kind"] == type(event).__struct_config__.tag
