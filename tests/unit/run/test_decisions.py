"""Single decisions, pinned by hand: what the engine does next in each situation a person can name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orchestrator.plan.budget import Policy, affordable_s, reserve_usd
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.decide import decide, stop_in_s
from orchestrator.run.drive import digest
from orchestrator.run.events import AnyCommand, AnyEvent, Instance, Outcome, Reason
from orchestrator.run.rules import ALL_RULES, Rules
from orchestrator.run.selection import instance_name, run_id
from orchestrator.run.state import Phase, RunState, fold

POLICY = Policy()
CHEAP = Offer(backend="b", cloud="vast", region="eu", gpu="T4", count=1, usable_gib=14.6, usd_per_hour=0.2, guard="create-time")
LARGE = Offer(backend="b", cloud="vast", gpu="A100", count=1, usable_gib=79.2, usd_per_hour=1.0, guard="create-time")
FREE = Offer(backend="b", cloud="local")
NAME = "ct-i-r-1"


def planned(*offers: Offer, cap: float | None = 5.0, deadline: float | None = None, **changes: Any) -> ev.Planned:
    policy = msgspec.structs.replace(POLICY, **changes)
    return ev.Planned(
        at=0.0, run="r", installation="i", fingerprint="f", offers=offers or (CHEAP, LARGE), cap_usd=cap, deadline_s=deadline, policy=policy
    )  # fmt: skip


def create(
    at: float = 0.0, offer: int = 0, life_s: float | None = 80_000.0, timer_s: float | None = 2400.0, attempt: int = 1
) -> ev.Intended:
    return ev.Intended(at=at, command=ev.Create(attempt=attempt, offer=offer, name=f"ct-i-r-{attempt}", life_s=life_s, timer_s=timer_s))


def seen(at: float, *, attempt: int = 1, ready: bool = True, age_s: float | None = None, **changes: Any) -> ev.Seen:
    fields: dict[str, Any] = {"gpu": "T4", "count": 1, "usd_per_hour": 0.2, "id": "i1"} | changes
    return ev.Seen(at=at, attempt=attempt, instances=(Instance(name=f"ct-i-r-{attempt}", ready=ready, age_s=age_s, **fields),))


def doomed(at: float, reason: Reason, attempt: int = 1) -> ev.Concluded:
    return ev.Concluded(at=at, command=ev.Doom(attempt=attempt, reason=reason))


def closed(at: float, usd: float = 0.0, attempt: int = 1) -> ev.Concluded:
    return ev.Concluded(at=at, command=ev.Close(attempt=attempt, billed_s=1.0, billed_usd=usd))


UP: list[AnyEvent] = [create(), ev.Created(at=1.0, attempt=1, instance_id="i1"), seen(2.0, age_s=1.0)]
ARMED: list[AnyEvent] = [*UP, ev.Intended(at=3.0, command=ev.Arm(attempt=1, name=NAME, life_s=79_998.0)), ev.Armed(at=3.0, attempt=1)]
RUNNING: list[AnyEvent] = [
    *ARMED, ev.Uploaded(at=4.0, attempt=1, files=1, sent_bytes=1), ev.Intended(at=5.0, command=ev.Submit(attempt=1, name=NAME, stop_in_s=1.0, checkpoint_step=0)),
    ev.Submitted(at=5.0, attempt=1, job="j"),
]  # fmt: skip


def ended(code: int, steps: int = 10, at: float = 9.0) -> ev.JobEnded:
    return ev.JobEnded(at=at, attempt=1, result=ev.JobResult(exit_code=code, steps=steps))


def next_of(*events: AnyEvent, now: float | None = None, rules: Rules = ALL_RULES, plan: ev.Planned | None = None) -> AnyCommand:
    state = fold([plan or planned(), *events])
    return decide(state, state.last_at if now is None else now, rules)


def dooms(*events: AnyEvent, now: float | None = None, plan: ev.Planned | None = None) -> Reason | None:
    command = next_of(*events, now=now, plan=plan)
    return command.reason if isinstance(command, ev.Doom) else None


def settles(*events: AnyEvent, now: float | None = None, plan: ev.Planned | None = None) -> tuple[Outcome, Reason] | None:
    command = next_of(*events, now=now, plan=plan)
    return (command.outcome, command.reason) if isinstance(command, ev.Settle) else None


def test_a_fresh_plan_rents_the_first_offer_with_a_short_timer() -> None:
    command = next_of()
    assert isinstance(command, ev.Create) and command.offer == 0 and command.name == NAME
    assert command.timer_s == POLICY.fuse_s
    assert command.life_s == affordable_s(5.0, 0.2, POLICY)
    assert next_of(rules=Rules.without("early_deadline")).timer_s is None  # type: ignore[union-attr]


def test_a_free_offer_has_no_limits_but_the_deadline() -> None:
    assert (
        stop_in_s(
            fold([planned(FREE, cap=None), create(life_s=None, timer_s=None)]),
            fold([planned(FREE, cap=None), create(life_s=None, timer_s=None)]).attempts[0],
            9.0,
        )
        is None
    )
    command = next_of(plan=planned(FREE, cap=None))
    assert isinstance(command, ev.Create) and command.life_s is None
    command = next_of(plan=planned(FREE, cap=None, deadline=3600.0))
    assert isinstance(command, ev.Create) and command.life_s == command.timer_s == 3600.0


def test_nothing_is_rented_without_a_budget() -> None:
    assert settles(plan=planned(CHEAP, cap=None)) == (Outcome.FAILED, Reason.BUDGET)
    assert settles(plan=planned(CHEAP, deadline=60.0)) == (Outcome.FAILED, Reason.DEADLINE)
    assert settles(ev.Resumed(at=0.0, controller="c"), plan=planned(CHEAP, cap=0.05, unread_rate_factor=9.0)) == (
        Outcome.FAILED,
        Reason.BUDGET,
    )


@pytest.mark.parametrize(
    ("delivered", "reason"),
    [
        ({"gpu": "A100"}, Reason.MISMATCH),
        ({"count": 2}, Reason.MISMATCH),
        ({"usd_per_hour": 0.21}, Reason.RATE_ABOVE_PLAN),
        ({"usd_per_hour": 0.2039}, None),
        ({"gpu": ""}, None),
    ],
)
def test_read_back(delivered: dict[str, Any], reason: Reason | None) -> None:
    assert dooms(create(), seen(2.0, **delivered)) == reason


def test_doubles_are_destroyed_by_id() -> None:
    both = ev.Seen(at=2.0, attempt=1, instances=(*seen(2.0).instances, *seen(2.0, id="i2").instances))
    command = next_of(create(), both)
    assert isinstance(command, ev.Destroy) and command.ids == ("i2",)
    state = fold([planned(), create(), both, seen(62.0)])
    assert state.attempts[0].extra == () and state.attempts[0].extra_usd > 0.0


def test_a_boot_that_never_ends() -> None:
    late = CHEAP.provisioning_s + 1
    assert dooms(create(), seen(late, ready=False)) == Reason.NEVER_READY
    assert dooms(create(), seen(late - 100, ready=False)) is None
    assert next_of(create(), seen(late, ready=False), rules=Rules.without("bounded")) == ev.Wait(
        seconds=POLICY.poll_s, why="the instance is not ready yet"
    )


def test_a_create_call_that_failed_may_still_bear_an_instance() -> None:
    failed = ev.CreateFailed(at=5.0, attempt=1, reason=Reason.CREATE_FAILED, definite=False)
    nothing = ev.Seen(at=7.0, attempt=1, instances=())
    assert dooms(create(), failed, nothing) is None
    assert dooms(create(), failed, nothing, ev.Seen(at=606.0, attempt=1, instances=())) == Reason.CREATE_FAILED
    assert isinstance(next_of(create(), failed, nothing, rules=Rules.without("launch_grace")), ev.Doom)
    no = ev.CreateFailed(at=5.0, attempt=1, reason=Reason.NO_CAPACITY, definite=True)
    assert dooms(create(), no) == Reason.NO_CAPACITY


def test_the_grace_is_counted_anew_after_another_boot() -> None:
    """The laptop was restarted with a clock a day ahead: how long ago the call was is not known."""
    failed = ev.CreateFailed(at=5.0, attempt=1, reason=Reason.CREATE_FAILED, definite=False)
    boots = [ev.Resumed(at=0.0, controller="a", boot="b1"), create(), failed, ev.Resumed(at=86_400.0, controller="b", boot="b2")]
    assert dooms(*boots, ev.Seen(at=86_402.0, attempt=1, instances=())) is None
    assert dooms(*boots, ev.Seen(at=87_001.0, attempt=1, instances=())) == Reason.CREATE_FAILED


def test_after_another_boot_a_timer_of_unknown_age_is_not_prolonged() -> None:
    boots = [ev.Resumed(at=0.0, controller="a", boot="b1"), create(), ev.Resumed(at=50.0, controller="b", boot="b2")]
    assert next_of(*boots, seen(51.0)) == ev.Wait(seconds=POLICY.poll_s, why="how old the instance is cannot be told")
    assert isinstance(next_of(*boots, seen(51.0, age_s=40.0)), ev.Arm)
    lost = fold([planned(), *boots])
    assert lost.running_usd(52.0) >= 0.2 * (2400.0 + 60.0) / 3600.0, "an unknown interval counts as billed"


def test_a_laptop_that_wakes_up_asks_first() -> None:
    assert isinstance(next_of(*RUNNING, now=90_000.0), ev.Look)
    assert dooms(*RUNNING, seen(90_000.0, age_s=89_999.0)) == Reason.BUDGET
    assert dooms(*RUNNING, seen(90_000.0, age_s=500.0)) is None, "its clock was wrong: the cloud says how old it is"
    silent = [ev.Failed(at=90_000.0 + i, attempt=1, action="look", detail="no network") for i in range(5)]
    assert dooms(*RUNNING, *silent, now=90_010.0) == Reason.BUDGET
    assert dooms(*UP, seen(2500.0, age_s=2401.0)) == Reason.FUSE


def test_the_deadline_is_the_reason_when_it_is_nearer_than_the_budget() -> None:
    plan = planned(CHEAP, deadline=4000.0)
    begun = [create(life_s=4000.0, timer_s=2400.0), *RUNNING[1:]]
    assert dooms(*begun, seen(4001.0, age_s=80_001.0), plan=plan) == Reason.DEADLINE


def test_a_wish_ends_what_has_not_begun() -> None:
    wish = ev.StopWanted(at=3.0, reason=Reason.USER)
    assert dooms(create(), wish) == Reason.USER
    assert dooms(*UP, wish) == Reason.USER
    assert settles(wish) == (Outcome.STOPPED, Reason.USER)
    assert settles(ev.StopWanted(at=3.0, reason=Reason.INTERRUPT)) == (Outcome.INTERRUPTED, Reason.INTERRUPT)
    command = next_of(*RUNNING, ev.StopWanted(at=6.0, reason=Reason.USER))
    assert isinstance(command, ev.AskStop) and command.reason == Reason.USER
    assert dooms(*RUNNING, ev.StopWanted(at=6.0, reason=Reason.DOWN)) == Reason.DOWN


def test_a_box_that_does_not_stop_is_ended() -> None:
    asked = [*RUNNING, ev.Intended(at=10.0, command=ev.AskStop(attempt=1, name=NAME, reason=Reason.USER)), ev.StopAsked(at=10.0, attempt=1)]
    assert dooms(*asked, seen(60.0)) is None
    assert dooms(*asked, seen(10.0 + POLICY.stop_patience_s)) == Reason.USER


def test_the_soft_deadline_comes_before_the_timer() -> None:
    state = fold([planned(), *RUNNING])
    left = stop_in_s(state, state.attempts[0], state.last_at)
    assert left is not None and left <= 80_000.0 - POLICY.closing_s
    late = 80_000.0 - POLICY.closing_s
    command = next_of(*RUNNING, seen(late, age_s=late))
    assert isinstance(command, ev.AskStop) and command.reason == Reason.BUDGET
    assert dooms(*ARMED, seen(late, age_s=late)) == Reason.BUDGET, "nothing runs yet and there is no time left to begin"
    assert reserve_usd(0.2, POLICY) > 0.2 * POLICY.closing_s / 3600.0


def test_uploads_and_contact_are_bounded() -> None:
    uploads = [ev.Failed(at=10.0 + i, attempt=1, action="upload", detail="d") for i in range(POLICY.max_uploads)]
    assert dooms(*ARMED, *uploads) == Reason.UPLOAD_FAILED
    assert next_of(*ARMED, uploads[0]) == ev.Wait(seconds=POLICY.retry_s, why="the upload failed; trying again")
    silent = [ev.Failed(at=1000.0 + i, attempt=1, action="poll", detail="d") for i in range(3)]
    assert dooms(*RUNNING, seen(990.0), *silent) == Reason.UNREACHABLE
    assert dooms(*RUNNING, *silent) is None, "a laptop without a network cannot tell"


def test_arming_and_submitting_are_tried_again() -> None:
    assert next_of(*UP, ev.Failed(at=3.0, attempt=1, action="arm", detail="d")) == ev.Wait(
        seconds=POLICY.retry_s, why="the deadline could not be set; trying again"
    )
    sent = ev.Uploaded(at=4.0, attempt=1, files=1, sent_bytes=1)
    failed = ev.Failed(at=5.0, attempt=1, action="submit", detail="d")
    assert next_of(*ARMED, sent, failed) == ev.Wait(seconds=POLICY.retry_s, why="the job could not be started; trying again")


def test_a_lost_job_is_started_again_a_bounded_number_of_times() -> None:
    assert isinstance(next_of(*RUNNING, ev.JobLost(at=6.0, attempt=1)), ev.Submit)
    again = [ev.Intended(at=6.0, command=ev.Submit(attempt=1, name=NAME, stop_in_s=1.0, checkpoint_step=0))] * POLICY.max_resubmits
    assert dooms(*RUNNING, *again, ev.JobLost(at=6.0, attempt=1)) == Reason.TRAINER_CRASHED
    further = ev.Progressed(at=6.0, attempt=1, cursor=1, step=5, checkpoint_step=5)
    assert dooms(*RUNNING, *again, further, again[0], ev.JobLost(at=6.0, attempt=1)) is None, "it gets further each time"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "completed"),
        (1, "trainer_crashed"),
        (2, "bad_config"),
        (3, "bad_data"),
        (4, "no_model"),
        (10, "out_of_memory"),
        (21, "diverged"),
        (22, "disk_full"),
        (20, "budget"),
    ],
)
def test_last_words(code: int, reason: str) -> None:
    assert dooms(*RUNNING, ended(code)) == reason
    wish = ev.StopWanted(at=6.0, reason=Reason.USER)
    assert dooms(*RUNNING, wish, ended(20)) == Reason.USER


def test_the_adapter_comes_home_before_the_instance_goes() -> None:
    done = [*RUNNING, ended(0), doomed(9.0, Reason.COMPLETED)]
    assert isinstance(next_of(*done), ev.Pull)
    broken = ev.Failed(at=10.0, attempt=1, action="pull", detail="hash")
    assert next_of(*done, broken) == ev.Wait(seconds=POLICY.retry_s, why="the adapter did not come home whole; trying again")
    assert isinstance(next_of(*done, broken, now=100.0), ev.Look), "it may be gone"
    assert isinstance(next_of(*done, broken, seen(99.0), now=100.0), ev.Pull)
    assert isinstance(next_of(*done, broken, now=79_900.0), ev.Destroy), "the budget wins"
    pulled = ev.Pulled(at=11.0, attempt=1, files={"a": "b"})
    assert isinstance(next_of(*done, pulled), ev.Destroy)
    assert isinstance(next_of(*RUNNING, ended(20, steps=0), doomed(9.0, Reason.USER)), ev.Destroy), "step 0 has learned nothing"


def test_a_free_box_is_bounded_by_tries() -> None:
    plan = planned(FREE, cap=None)
    free = [create(life_s=None, timer_s=None), *RUNNING[1:], ended(0), doomed(9.0, Reason.COMPLETED)]
    failures = [ev.Failed(at=10.0 + i, attempt=1, action="pull", detail="d") for i in range(POLICY.max_pulls)]
    assert isinstance(next_of(*free, *failures[:-1], now=500.0, plan=plan), ev.Pull)
    assert isinstance(next_of(*free, *failures, now=500.0, plan=plan), ev.Destroy)


def test_a_checkpoint_is_saved_when_the_end_comes_early() -> None:
    early = [*RUNNING, ev.Progressed(at=8.0, attempt=1, cursor=1, step=7, total_steps=9, checkpoint_step=5), doomed(9.0, Reason.DISK_FULL)]
    assert isinstance(next_of(*early), ev.FetchCheckpoint)
    failures = [ev.Failed(at=10.0 + i, attempt=1, action="fetch_checkpoint", detail="d") for i in range(POLICY.max_pulls)]
    assert next_of(*early, failures[0]) == ev.Wait(seconds=POLICY.retry_s, why="the checkpoint did not come home whole; trying again")
    assert isinstance(next_of(*early, *failures, now=500.0), ev.Destroy)
    assert isinstance(next_of(*RUNNING, early[-2], doomed(9.0, Reason.DOWN)), ev.Destroy), "down saves nothing"


def test_only_the_observer_says_gone() -> None:
    ending = [*UP, doomed(3.0, Reason.MISMATCH)]
    assert isinstance(next_of(*ending), ev.Destroy)
    sent = [*ending, ev.Intended(at=3.0, command=ev.Destroy(attempt=1, name=NAME)), ev.DestroySent(at=4.0, attempt=1)]
    assert isinstance(next_of(*sent), ev.Look)
    assert isinstance(next_of(*sent, rules=Rules.without("observed_teardown")), ev.Close)
    assert isinstance(next_of(*sent, seen(5.0), now=30.0), ev.Destroy), "still listed: again"
    command = next_of(*sent, ev.Seen(at=6.0, attempt=1, instances=()))
    assert isinstance(command, ev.Close) and command.billed_usd > 0.0
    assert isinstance(next_of(*sent, seen(5.0), now=3.0 + POLICY.teardown_give_up_s), ev.GiveUp)
    refused = ev.Failed(at=4.0, attempt=1, action="destroy", detail="d")
    assert isinstance(next_of(*sent[:-1], refused, now=100.0), ev.Destroy)
    less = next_of(*sent, ev.Seen(at=6.0, attempt=1, instances=()), rules=Rules.without("never_underreport"))
    assert isinstance(less, ev.Close) and less.billed_usd < command.billed_usd


def test_one_destroy_is_enough_for_what_was_never_seen() -> None:
    never = [create(), ev.CreateFailed(at=5.0, attempt=1, reason=Reason.CREATE_FAILED, definite=False), doomed(6.0, Reason.USER)]
    sent = [*never, ev.Intended(at=6.0, command=ev.Destroy(attempt=1, name=NAME)), ev.DestroySent(at=6.0, attempt=1)]
    assert isinstance(next_of(*sent, ev.Seen(at=7.0, attempt=1, instances=()), now=8.0), ev.Wait)
    assert isinstance(next_of(*sent, ev.Seen(at=700.0, attempt=1, instances=())), ev.Close)


ENDINGS: list[tuple[Reason, bool, tuple[Outcome, Reason] | None]] = [
    (Reason.COMPLETED, True, (Outcome.SUCCEEDED, Reason.COMPLETED)),
    (Reason.COMPLETED, False, None),
    (Reason.BAD_DATA, False, (Outcome.FAILED, Reason.BAD_DATA)),
    (Reason.INTERRUPT, False, (Outcome.INTERRUPTED, Reason.INTERRUPT)),
    (Reason.USER, False, (Outcome.STOPPED, Reason.USER)),
    (Reason.DOWN, False, (Outcome.STOPPED, Reason.DOWN)),
    (Reason.BUDGET, False, (Outcome.FAILED, Reason.BUDGET)),
    (Reason.BUDGET, True, (Outcome.STOPPED, Reason.BUDGET)),
    (Reason.PREEMPTED, False, None),
]


@pytest.mark.parametrize(("reason", "pulled", "expected"), ENDINGS)
def test_how_an_attempt_settles_the_run(reason: Reason, pulled: bool, expected: tuple[Outcome, Reason] | None) -> None:
    brought = [ev.Pulled(at=8.0, attempt=1, files={"a": "b"})] if pulled else []
    assert settles(*RUNNING, *brought, doomed(9.0, reason), closed(10.0)) == expected


def test_what_was_planned_again_is_tried_and_nothing_else() -> None:
    newer = msgspec.structs.replace(CHEAP, usd_per_hour=0.3)
    again = ev.Reoffered(at=50.0, offers=(newer,))
    command = next_of(create(), doomed(9.0, Reason.MISMATCH), closed(10.0), again, now=500.0)
    assert isinstance(command, ev.Create) and (command.offer, command.attempt) == (2, 2)
    state = fold([planned(), create(), doomed(9.0, Reason.MISMATCH), closed(10.0), again])
    assert state.offers == (CHEAP, LARGE, newer) and state.offers[state.attempts[0].offer] == CHEAP, "what was rented keeps its offer"
    first = next_of(create(), doomed(9.0, Reason.PREEMPTED), closed(10.0), again, ev.Reoffered(at=60.0, offers=(LARGE,)), now=500.0)
    assert isinstance(first, ev.Create) and first.offer == 3
    assert fold([again]).offers == (), "nothing is planned again before it was planned"


def test_the_next_offer_and_the_same_one_again() -> None:
    def then(reason: Reason, now: float = 500.0) -> AnyCommand:
        return next_of(create(), doomed(9.0, reason), closed(10.0), now=now)

    for strike in (Reason.MISMATCH, Reason.RATE_ABOVE_PLAN, Reason.OUT_OF_MEMORY, Reason.NO_CAPACITY, Reason.NEVER_READY):
        command = then(strike)
        assert isinstance(command, ev.Create) and command.offer == 1, strike
    command = then(Reason.PREEMPTED)
    assert isinstance(command, ev.Create) and command.offer == 0, "the offer was not to blame"
    assert then(Reason.PREEMPTED, now=20.0) == ev.Wait(seconds=50.0, why="before an offer is tried again")
    twice = [
        create(),
        doomed(1.0, Reason.TRAINER_CRASHED),
        closed(2.0),
        create(3.0, 1, attempt=2),
        doomed(4.0, Reason.TRAINER_CRASHED, 2),
        closed(5.0, attempt=2),
    ]
    assert settles(*twice) == (Outcome.FAILED, Reason.TRAINER_CRASHED)


def test_after_out_of_memory_only_larger_cards() -> None:
    same = planned(LARGE, CHEAP)
    begun = [create(), doomed(9.0, Reason.OUT_OF_MEMORY), closed(10.0)]
    assert settles(*begun, now=500.0, plan=same) == (Outcome.FAILED, Reason.OUT_OF_MEMORY)


def test_attempts_are_bounded() -> None:
    one = planned(CHEAP, max_attempts=1)
    assert settles(create(), doomed(9.0, Reason.PREEMPTED), closed(10.0), plan=one) == (Outcome.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    thrice: list[AnyEvent] = []
    for n in (1, 2, 3):
        thrice += [create(n * 100.0, attempt=n), doomed(n * 100.0 + 1, Reason.PREEMPTED, n), closed(n * 100.0 + 2, attempt=n)]
    assert settles(*thrice, plan=planned(CHEAP)) == (Outcome.FAILED, Reason.PREEMPTED)


def test_what_is_left_goes_to_the_offer_that_can_finish() -> None:
    slow = msgspec.structs.replace(CHEAP, expected_s=40_000.0)
    fast = msgspec.structs.replace(LARGE, expected_s=4_000.0)
    command = next_of(plan=planned(slow, fast, cap=2.0))
    assert isinstance(command, ev.Create) and command.offer == 1
    ended_early = [
        *RUNNING,
        ev.Progressed(at=6.0, attempt=1, cursor=1, step=99, total_steps=100),
        ev.CheckpointHome(at=7.0, attempt=1, step=99),
        doomed(9.0, Reason.BUDGET),
        closed(10.0, usd=1.5),
    ]
    command = next_of(*ended_early, now=500.0, plan=planned(slow, fast, cap=2.0))
    assert isinstance(command, ev.Create), "one step is missing and the rest of the money is known to finish it"
    assert settles(*ended_early, now=500.0, plan=planned(cap=2.0)) == (Outcome.STOPPED, Reason.BUDGET)


def test_phases() -> None:
    def phase(*events: AnyEvent) -> Phase:
        return fold([planned(), *events]).phase

    assert phase() is Phase.PLANNED and phase(create()) is Phase.PROVISIONING and phase(*ARMED) is Phase.SYNCING
    assert phase(*RUNNING) is Phase.TRAINING and phase(*RUNNING, ended(0), doomed(9.0, Reason.COMPLETED)) is Phase.PULLING
    assert phase(*UP, doomed(3.0, Reason.MISMATCH)) is Phase.TEARING_DOWN
    settled = ev.Concluded(at=9.0, command=ev.Settle(outcome=Outcome.FAILED, reason=Reason.MISMATCH))
    assert phase(settled) is Phase.SETTLED and isinstance(decide(RunState(), 0.0), ev.Done)


def test_names_are_for_every_provider() -> None:
    assert instance_name("a1b2c3", run_id("seed"), 12) == f"ct-a1b2c3-{run_id('seed')}-12"
    assert len(run_id("x")) == 8 and run_id("x") != run_id("y")


def test_progress_lines_become_news() -> None:
    lines = (
        {"kind": "phase", "name": "training"}, {"kind": "plan", "total_steps": 9, "train_rows": 3}, {"kind": "step", "step": 2, "total_steps": 9, "loss": 1.5},
        {"kind": "checkpoint", "step": 2}, {"kind": "evaluating", "when": "before", "done": 1, "rows": 3}, {"kind": "evaluation", "when": "before", "metric": "accuracy", "value": 0.5},
        {"kind": "notice", "text": "hm"}, {"kind": "sample"}, {},
    )  # fmt: skip
    found = digest(lines)
    assert (found["step"], found["total_steps"], found["checkpoint_step"]) == (2, 9, 2)
    assert found["latest"] == {
        "phase": "training",
        "evaluated": 1,
        "to_evaluate": 3,
        "train_rows": 3,
        "loss": 1.5,
        "score_before": 0.5,
        "metric": "accuracy",
        "notice": "hm",
    }


def test_a_run_settles_once() -> None:
    first, second = (
        ev.Concluded(at=9.0, command=ev.Settle(outcome=outcome, reason=Reason.USER)) for outcome in (Outcome.STOPPED, Outcome.FAILED)
    )
    assert fold([planned(), first, second]).outcome == Outcome.STOPPED


def test_an_instance_that_was_stopped_is_ended_and_another_taken() -> None:
    grace_s = POLICY.missing_grace_s
    first = seen(10.0, stopped=True, ready=False)
    command = next_of(*RUNNING, first, now=10.0 + POLICY.poll_s)
    assert isinstance(command, ev.Look), "it is looked at more often"
    assert next_of(*RUNNING, first, now=11.0) == ev.Wait(seconds=POLICY.poll_s, why="the instance is not ready yet"), "and not asked"
    assert dooms(*RUNNING, first, seen(9.9 + grace_s, stopped=True, ready=False)) is None
    assert dooms(*RUNNING, first, seen(10.0 + grace_s, stopped=True, ready=False)) == Reason.PREEMPTED
    assert dooms(*RUNNING, first, seen(20.0), seen(10.0 + grace_s, stopped=True, ready=False)) is None, "it came back in between"
    assert dooms(create(), seen(10.0, stopped=True, ready=False), seen(10.0 + grace_s, stopped=True, ready=False)) is None, "it boots"


def test_what_cannot_be_fetched_from_a_lost_instance_is_not_waited_for() -> None:
    done = [*RUNNING, ended(0), doomed(9.0, Reason.COMPLETED)]
    failed = [*done, ev.Failed(at=70.0, attempt=1, action="pull", detail="")]
    assert isinstance(next_of(*done, now=70.0), ev.Pull)
    assert isinstance(next_of(*failed, now=75.0), ev.Look), "whether it is there at all"
    for away in (ev.Seen(at=76.0, attempt=1, instances=()), seen(76.0, stopped=True, ready=False)):
        assert isinstance(next_of(*failed, away, now=80.0), ev.Pull), "a list may be wrong once"
        assert isinstance(next_of(*failed, away, now=86.0), ev.Look)
        later = msgspec.structs.replace(away, at=76.0 + POLICY.missing_grace_s)
        assert isinstance(next_of(*failed, away, later), ev.Destroy)
