"""Before anything is started: every check that can be made here; then the run to go on with, or a new one."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from orchestrator.backends.bundle import fingerprint, write_bundle
from orchestrator.backends.datasets import locate
from orchestrator.backends.examine import examine, refuse_failed
from orchestrator.backends.home import check_output
from orchestrator.backends.models import check_model
from orchestrator.cli import output, wiring
from orchestrator.cli.going_on import GoingOn, offers_again, unfinished
from orchestrator.cli.reading_bar import reading_bar
from orchestrator.data.prepare import Prepared, prepare
from orchestrator.errors import UsageProblem
from orchestrator.ledger.journal import Ledger, RunRecord
from orchestrator.ledger.paths import private, run_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.plan.plan import Plan, stale
from orchestrator.run.events import Outcome, Planned
from orchestrator.run.selection import run_id
from orchestrator.run.state import RunState
from orchestrator.spec.jobspec import Job
from trainer.contract import CHECKPOINT_DIR, newest_checkpoint

RECEIPT_FILE = "receipt.json"  # in the run's folder, once its receipt was shown


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A job that may be started."""

    prepared: Prepared
    offers: tuple[Offer, ...]
    policy: Policy
    plan: Plan | None  # None: this machine
    fingerprint: str
    sentence: str
    model_from: str  # where the model comes from, in words
    going_on: GoingOn | None  # the unfinished run of this very job
    use_my_skypilot: bool  # rent through the user's own server and settings


def preflight(job: Job, *, use_my_skypilot: bool = False) -> Checked:
    """Everything that can go wrong and can be known now. Raises UsageProblem, DataProblem or ModelProblem."""
    located = locate(job, offline=False)
    with reading_bar(located) as on_bytes:
        report = examine(job, offline=False, located=located, on_bytes=on_bytes)
    refuse_failed(report, job)
    prepared = prepare(job, located, unfit=frozenset(report.unfit))
    model_from = check_model(job)
    found = fingerprint(job, prepared)
    going_on = unfinished(job, found)
    offers, policy, plan = _offers(job, prepared, going_on, use_my_skypilot=use_my_skypilot)
    check_output(wiring.output_folder(job))
    return Checked(
        prepared=prepared,
        offers=offers,
        policy=policy,
        plan=plan,
        fingerprint=found,
        going_on=going_on,
        sentence=prepared.sentence,
        model_from=model_from,
        use_my_skypilot=use_my_skypilot,
    )


def _offers(
    job: Job, prepared: Prepared, going_on: GoingOn | None, *, use_my_skypilot: bool
) -> tuple[tuple[Offer, ...], Policy, Plan | None]:
    """What may be tried, for a new run or for what is left of one; says why an unfinished one was not planned again."""
    if going_on is None:
        return wiring.offers_for(job, prepared, use_my_skypilot=use_my_skypilot)
    offers, policy, plan, doubt = offers_again(job, prepared, going_on, use_my_skypilot=use_my_skypilot)
    if doubt:
        output.messages().print(f"warning: {doubt}; the run goes on with the offers that it has", markup=False, soft_wrap=True)
    return offers, policy, plan


def refreshed(job: Job, shown: Checked) -> tuple[Checked, str | None]:
    """(what may be started now, why it is no longer what was shown or None). Plans again; this machine needs no plan."""
    if shown.plan is None:
        return shown, None
    offers, policy, plan = _offers(job, shown.prepared, shown.going_on, use_my_skypilot=shown.use_my_skypilot)
    why = stale(shown.plan, plan) if plan is not None else None
    return replace(shown, offers=offers, policy=policy, plan=plan), why


def begin(ledger: Ledger, job: Job, checked: Checked) -> tuple[RunRecord, bool]:
    """(the run, whether it goes on): the unfinished run of this very job, or a new one, entered with its upload written."""
    earlier = [record for record in ledger.runs() if record.folder == job.folder]
    for record in earlier:
        state = ledger.state(record.run)
        if state.outcome is not None and (state.outcome != Outcome.SUCCEEDED or _receipt_seen(record)):
            continue
        if record.fingerprint == checked.fingerprint:
            return record, True
        if state.outcome is None:
            raise UsageProblem(
                f"run {record.run} of this folder is not finished, and the job has changed since",
                hint=f"cloudtune attach {record.run} finishes it as it was; cloudtune stop {record.run} ends it",
                charged=f"{state.attempt.name}" if state.attempt is not None and state.attempt.open else "nothing",
            )
    return _new_run(ledger, job, checked, _to_continue(ledger, earlier, checked.fingerprint)), False


def _receipt_seen(record: RunRecord) -> bool:
    """A run that succeeded but whose receipt was never shown is finished by showing it, not by training again."""
    return (run_dir(record.run) / RECEIPT_FILE).exists()


def _to_continue(ledger: Ledger, earlier: list[RunRecord], wanted: str) -> tuple[RunRecord, RunState] | None:
    """The newest run of the same job, if it ended early and left a checkpoint at home."""
    same = [record for record in earlier if record.fingerprint == wanted]
    if not same:
        return None
    state = ledger.state(same[0].run)
    if state.outcome == Outcome.SUCCEEDED or newest_checkpoint(run_dir(same[0].run) / CHECKPOINT_DIR) is None:
        return None
    return same[0], state


def _new_run(ledger: Ledger, job: Job, checked: Checked, previous: tuple[RunRecord, RunState] | None) -> RunRecord:
    now = time.time()
    run = run_id(f"{checked.fingerprint}{now}{os.getpid()}{os.urandom(8).hex()}")
    folder = private(run_dir(run))
    write_bundle(folder / wiring.BUNDLE_DIR, job, checked.prepared)
    if any(offer.backend != "local" for offer in checked.offers):
        from orchestrator.cli.renting import write_load

        write_load(folder, job, checked.model_from, use_my_skypilot=checked.use_my_skypilot)
    step = 0
    if previous is not None:
        source = newest_checkpoint(run_dir(previous[0].run) / CHECKPOINT_DIR)
        if source is not None:
            shutil.copytree(source, private(folder / CHECKPOINT_DIR) / source.name)
            step = int(source.name.removeprefix("step-"))
    record = RunRecord(
        run=run,
        created_at=now,
        folder=job.folder,
        source=str(Path(job.source).absolute()),
        fingerprint=checked.fingerprint,
        spec=json.dumps(msgspec.to_builtins(job.spec)),
    )
    planned = Planned(
        at=now,
        run=run,
        installation=ledger.database.installation(),
        fingerprint=checked.fingerprint,
        offers=checked.offers,
        cap_usd=job.spec.limits.budget_usd,
        deadline_s=job.spec.limits.deadline_s,
        policy=checked.policy,
        continues=previous[0].run if previous is not None and step else None,
        checkpoint_step=step,
    )
    ledger.add(record, planned)
    return record
