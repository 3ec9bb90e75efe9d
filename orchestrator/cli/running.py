"""run, attach, stop, pull: begin or find a run, drive it, say how it ended."""

from __future__ import annotations

import math
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.backends.offers.strikes import FORGIVEN_S, remember
from orchestrator.cli import output, plans, wiring
from orchestrator.cli.begin import RECEIPT_FILE, Checked, begin, preflight, refreshed
from orchestrator.cli.receipt_view import print_receipt
from orchestrator.cli.run_view import RunView
from orchestrator.errors import ExitCode, LedgerProblem, RunBusy, TeardownUnconfirmed, UsageProblem
from orchestrator.ledger.journal import Ledger, RunLock, RunRecord, is_controlled, take_over
from orchestrator.ledger.paths import config_dir, run_dir, state_dir
from orchestrator.ledger.receipt import exit_code, receipt
from orchestrator.plan.offers import Offer
from orchestrator.run.drive import drive
from orchestrator.run.events import AnyEvent, Concluded, Outcome, Reason, Reoffered
from orchestrator.run.ports import LeaseLost
from orchestrator.run.state import RunState
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import JOB_FILE_NAMES, Key, find_job_file, load_job
from trainer.contract import ADAPTER_DIR, write_atomically

FOLLOW_S = 1.0


def run(
    path: Path | None, flags: Mapping[Key, Any], *, ask: bool, dry_run: bool, use_my_skypilot: bool = False, plan: str | None = None
) -> int:
    """The ``run`` command. ``plan``: a kept plan's name or file. Returns the exit code."""
    saved = plans.find(plan) if plan is not None else None
    flags = plans.flags_of(saved, flags) if saved is not None else flags
    job = load_job(_job_file(path, ask), flags=flags, user_config=config_dir() / "config.yaml")
    checked = preflight(job, use_my_skypilot=use_my_skypilot)
    console = output.messages()
    console.print(checked.sentence, markup=False)
    if checked.going_on is not None and checked.going_on.rented:
        console.print(checked.going_on.sentence(time.time()) + ("" if saved is None else " The plan is not used."), markup=False)
    elif saved is not None:
        held = plans.settled(job, checked.plan, saved)
        checked = replace(checked, plan=held, offers=held.offers)
    if dry_run:
        from orchestrator.cli import dry_view

        dry_view.show(job, checked)
        return ExitCode.OK
    checked = _agreed(job, checked, ask)
    ledger = wiring.open_ledger()
    record, went_on = begin(ledger, job, checked)
    state = conduct(ledger, record, checked.offers if went_on else ())
    if went_on and state.outcome == Outcome.INTERRUPTED:  # what Ctrl-C left is cleared away; now the job itself goes on
        checked = preflight(job, use_my_skypilot=use_my_skypilot)
        record, _ = begin(ledger, job, checked)
        state = conduct(ledger, record)
    return _finish(record, state)


def _agreed(job: Job, checked: Checked, ask: bool) -> Checked:
    """What may be started: what was shown and agreed to. A plan that went stale while somebody thought is made again, and asked again."""
    if checked.going_on is not None and checked.going_on.perhaps_charged:
        return checked  # it was agreed to when it was begun
    asked = ask and sys.stdin.isatty()
    while True:
        if not _accepted(job, checked, asked):
            raise UsageProblem("nothing was started", hint="cloudtune plan shows every offer; --infra and --gpus choose among them")
        if not asked or checked.offers[0].free:
            return checked  # planned a moment ago
        shown = checked
        checked, why = refreshed(job, shown)
        if why is None:
            return shown
        output.messages().print(f"Planned again: {why}.", markup=False)


def _accepted(job: Job, checked: Checked, asked: bool) -> bool:
    """What it will cost, said; and asked, where somebody can answer."""
    best, going_on = checked.offers[0], checked.going_on
    if best.free:
        return True
    expected = ""
    if best.expected_s:
        left_s = best.expected_s * (going_on.share if going_on is not None else 1.0)
        time_words = f"{left_s / 3600:.1f} h" if left_s >= 5400 else f"{math.ceil(left_s / 60)} min"
        usd = math.ceil(left_s / 36 * best.usd_per_hour) / 100
        expected = f", about {time_words} and ${usd:.2f} of training"
    cap = (going_on.state.cap_usd if going_on is not None else job.spec.limits.budget_usd) or 0.0
    output.messages().print(f"Cheapest for this job: {best.title()}{expected}; at most ${cap:.2f} in all.", markup=False)
    if not asked:
        return True
    import typer

    return typer.confirm("Rent it?", default=True, err=True)


def _job_file(path: Path | None, ask: bool) -> Path:
    """The job file; where there is none but one notebook, the job file imported from it, after asking."""
    from orchestrator.cli import importing

    notebook = importing.only_notebook(Path()) if path is None and not any(Path(name).is_file() for name in JOB_FILE_NAMES) else None
    if notebook is None:
        return find_job_file(path)
    import typer

    if not ask or not sys.stdin.isatty():
        raise UsageProblem(f"there is no {JOB_FILE_NAMES[0]} here, but a notebook", hint=f"cloudtune import {shlex.quote(str(notebook))}")
    if not typer.confirm(f"There is no {JOB_FILE_NAMES[0]} here. Import {notebook}?", default=True, err=True):
        raise UsageProblem("no job file", hint="cloudtune init sentiment my-job")
    importing.run(notebook, None, None, force=False)
    return find_job_file(path)


def conduct(ledger: Ledger, record: RunRecord, offers: tuple[Offer, ...] = ()) -> RunState:
    """Take the run's lock and lease and drive it to its end. ``offers``: what is to be tried from now on, where that is not what it has.

    Raises RunBusy when another process does.
    """
    with RunLock(run_dir(record.run), record.run), _interrupts() as interrupts, RunView(record) as view:
        state = ledger.state(record.run)
        if state.outcome is not None:
            return state
        controller = f"{socket.gethostname()}:{os.getpid()}"
        journal = take_over(ledger, record.run, controller=controller, now=time.time())
        if offers and offers != state.offers[state.first_offer :]:
            journal.append(Reoffered(at=max(time.time(), state.last_at), offers=offers))
            state = ledger.state(record.run)
        view.resume(state)

        def on_event(state: RunState, event: AnyEvent) -> None:
            view.on_event(state, event)
            if isinstance(event, Concluded):
                _strike(state)  # at once: the next attempt must not be on the machine that this one failed on

        try:
            with wiring.ports_for(
                record, state, interrupted=interrupts.reason, on_event=on_event, on_news=view.on_news, on_bytes=view.on_bytes
            ) as ports:
                return drive(journal, ports, controller=controller)
        except LedgerProblem as error:
            error.charged = _perhaps_charged(state.offers, record)
            raise
        except LeaseLost as error:
            raise RunBusy(str(error), hint=f"cloudtune attach {record.run}") from error


def _strike(state: RunState) -> None:
    """Remember the machines that failed this run, so that the next price list leaves them out."""
    try:
        for found in remember(state_dir(), state):
            days = FORGIVEN_S / 86400
            output.messages().print(f"{found.cloud} machine {found.machine} {found.why}; left out for {days:.0f} days", markup=False)
    except OSError as error:
        output.messages().print(f"machines that failed could not be noted: {error.strerror or error}", markup=False)


def _perhaps_charged(offers: tuple[Offer, ...], record: RunRecord) -> str:
    return "nothing" if all(offer.free for offer in offers) else f"perhaps the instance of run {record.run}; its own timer ends it"


def _finish(record: RunRecord, state: RunState) -> int:
    """Print the receipt, or say that the end is not proved."""
    _strike(state)
    if state.outcome is None:
        attempt = state.attempt
        raise TeardownUnconfirmed(
            f"run {record.run}: teardown is not confirmed: {attempt.failure_detail if attempt else ''}".rstrip(": "),
            hint=f"cloudtune attach {record.run} tries again",
            charged=f"perhaps {attempt.name}" if attempt else "unknown",
        )
    used = {state.offers[attempt.offer] for attempt in state.attempts} or {state.offers[0]}
    places = sorted({offer.place for offer in used})
    observer = " and ".join(wiring.observer_title(at) for at in places)
    document = receipt(state, output=str(_installed(record, state)), observer=observer)
    print_receipt(document, run_dir(record.run))
    write_atomically(run_dir(record.run) / RECEIPT_FILE, output.dump(document))
    return exit_code(state)


def _installed(record: RunRecord, state: RunState) -> Path:
    """Put the adapter where the job wants it, and say where it is. A run that ended early never replaces what is there."""
    from orchestrator.backends.home import HomeEscrow, check_output

    home, wanted = run_dir(record.run) / ADAPTER_DIR, wiring.record_output(record)
    if not state.adapter:
        return wanted
    try:
        if state.outcome != Outcome.SUCCEEDED and wanted.exists():
            raise UsageProblem(f"{wanted} holds an earlier adapter, which a run that ended early does not replace")
        check_output(wanted)
        HomeEscrow(run_dir(record.run)).install(wanted)
    except (UsageProblem, OSError) as error:
        why = error.message if isinstance(error, UsageProblem) else f"{wanted}: {error.strerror or error}"
        output.messages().print(f"{why}\nthe adapter is safe in {home}; cloudtune pull {record.run} --to DIR copies it", markup=False)
        return home
    return wanted


def attach(given: str) -> int:
    """The ``attach`` command: drive the run if nobody does, else watch."""
    ledger = wiring.open_ledger()
    record = ledger.find(given)
    while True:
        try:
            return _finish(record, conduct(ledger, record))
        except RunBusy:
            _watch(ledger, record)


def _watch(ledger: Ledger, record: RunRecord) -> None:
    """Show a run that another process drives, until it has settled or its controller is gone."""
    with RunView(record) as view:
        while True:
            state = ledger.state(record.run)
            view.resume(state)
            if state.outcome is not None or not is_controlled(run_dir(record.run), record.run):
                return
            time.sleep(FOLLOW_S)


def stop(given: str) -> int:
    """The ``stop`` command: ask the controller, or be it."""
    ledger = wiring.open_ledger()
    record = ledger.find(given)
    state = ledger.state(record.run)
    if state.outcome is None:
        ledger.wish(record.run, Reason.USER, time.time())
    else:
        output.messages().print(f"run {record.run} has ended already: {state.outcome.value}")
    attach(record.run)
    return ExitCode.OK


def pull(given: str, to: Path | None) -> None:
    """The ``pull`` command: install the adapter that is safe at home."""
    from orchestrator.backends.home import HomeEscrow, check_output
    from orchestrator.run.ports import HashMismatch, Parcel

    ledger = wiring.open_ledger()
    record = ledger.find(given)
    state = ledger.state(record.run)
    if not state.adapter:
        reason = "it has not finished" if state.outcome is None else f"it ended {state.outcome.value}"
        raise UsageProblem(f"run {record.run} has no adapter at home: {reason}", hint=f"cloudtune attach {record.run}")
    target = wiring.resolved(str(Path().absolute()), str(to)) if to is not None else wiring.record_output(record)
    check_output(target)
    escrow = HomeEscrow(run_dir(record.run))
    try:
        files = escrow.verify(Parcel(cargo="adapter", step=0, place=run_dir(record.run) / ADAPTER_DIR))
    except HashMismatch as error:
        raise UsageProblem(f"run {record.run}: the copy at home is damaged: {error}") from error
    try:
        escrow.install(target)
    except OSError as error:
        raise UsageProblem(f"{target} cannot be written: {error.strerror or error}", hint="--to another folder") from error
    if output.as_json():
        output.print_json({"run": record.run, "adapter": {"path": str(target), "sha256": files}})
    else:
        output.answers().print(f"adapter of run {record.run}: {target}", markup=False)


class _Interrupts:
    """Ctrl-C and SIGTERM: the first is a wish, the second leaves at once."""

    def __init__(self) -> None:
        self._count = 0

    def reason(self) -> Reason | None:
        return Reason.INTERRUPT if self._count else None

    def handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        output.messages().print("stopping: saving a checkpoint and tearing down (once more to leave at once; the same command goes on)")


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    before = {number: signal.signal(number, interrupts.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
