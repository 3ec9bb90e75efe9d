"""Puts the ports together: ledger, clock, escrow and the backend of a run. The only place that knows every backend."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.data.prepare import Prepared
from orchestrator.errors import MissingExtra, UsageProblem
from orchestrator.ledger.database import FILE_NAME, Database
from orchestrator.ledger.journal import Ledger, RunRecord
from orchestrator.ledger.paths import run_dir, state_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run.events import Reason
from orchestrator.run.ports import News, Observer, Ports, Provider, Remote
from orchestrator.run.state import RunState
from orchestrator.spec.jobspec import Job, JobSpec

if TYPE_CHECKING:
    from orchestrator.backends.local import LocalBox
    from orchestrator.plan.plan import Plan

BUNDLE_DIR = "bundle"
NEVER_S = 1e9


def open_ledger() -> Ledger:
    """The ledger of this user. Raises LedgerProblem."""
    return Ledger(Database(state_dir() / FILE_NAME))


def local_offer() -> Offer:
    """This machine, as an offer at $0."""
    return Offer(backend="local", cloud="local", gpu="CPU or GPU", guard="create-time", source="this machine", provisioning_s=60.0)


def local_policy() -> Policy:
    """Bounds for a box that is this machine: no cloud to wait for, and no money to save."""
    return Policy(
        launch_grace_s=5.0,
        missing_grace_s=2.0,
        timer_granularity_s=2.0,
        save_reserve_s=60.0,
        stop_patience_s=900.0,  # a slow processor takes minutes over one step, and waiting costs nothing
        pull_reserve_s=10.0,
        teardown_reserve_s=10.0,
        useful_s=10.0,
        max_resubmits=20,  # starting again here costs nothing but time
        poll_s=0.5,
        look_s=10.0,
        round_s=1.0,
        retry_s=0.5,
        retry_cap_s=10.0,
        teardown_give_up_s=120.0,
        checkpoint_pull_s=NEVER_S,
    )


def offers_for(job: Job, prepared: Prepared, *, use_my_skypilot: bool, share: float = 1.0) -> tuple[tuple[Offer, ...], Policy, Plan | None]:
    """What this job may run on: this machine where it is named or nothing may cost anything, else what can be rented, with its plan.

    ``share``: of the training that is still to be done, above 0 to 1.
    Raises UsageProblem for places that cannot be reached from here, MissingExtra, and what planning raises.
    """
    wanted, free = job.spec.resources.infra, job.spec.limits.budget_usd is None
    if any(place != "local" for place in wanted) or (not wanted and not free):
        from orchestrator.cli import renting

        plan = renting.rentable(job, prepared, use_my_skypilot=use_my_skypilot, share=share)
        return plan.offers, plan.policy, plan
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("training on this machine", "train")
    return (local_offer(),), local_policy(), None


def output_folder(job: Job) -> Path:
    """Where the adapter goes, absolute."""
    return resolved(job.folder, job.spec.output.adapter)


def record_output(record: RunRecord) -> Path:
    """The same, from the ledger."""
    return resolved(record.folder, msgspec.json.decode(record.spec, type=JobSpec).output.adapter)


def resolved(folder: str, output: str) -> Path:
    """An output folder with links followed. Raises UsageProblem when that leads nowhere."""
    try:
        return Path(folder, output).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageProblem(f"output.adapter {output[:200]!r} cannot be written: {error}", hint="name another folder") from error


@contextmanager
def ports_for(
    record: RunRecord,
    state: RunState,
    *,
    interrupted: Callable[[], Reason | None],
    on_event: Callable[[Any, Any], None],
    on_news: Callable[[int, News], None],
    on_bytes: Callable[[int, int], None],
) -> Iterator[Ports]:
    """The ports of one run, until the block ends. Everything they need is in the ledger and in the run's folder."""
    from orchestrator.backends.clock import SystemClock
    from orchestrator.backends.home import HomeEscrow

    folder = run_dir(record.run)
    escrow = HomeEscrow(folder)
    box = local_box(folder)
    providers: dict[str, Provider] = {"local": box}
    observers: dict[str, Observer] = {"local": box}
    remotes: dict[str, Remote] = {"local": box}

    def news(attempt: int, cursor: int, said: News) -> None:
        escrow.record(attempt, cursor, said)
        on_news(attempt, said)

    with ExitStack() as stack:
        if to_rent := [offer for offer in state.offers if offer.backend == "skypilot"]:
            from orchestrator.cli.renting import BACKEND, Rented

            rented = stack.enter_context(closing(Rented(record, to_rent, folder / BUNDLE_DIR, on_bytes)))
            providers[BACKEND], observers[BACKEND], remotes[BACKEND] = rented.provider, rented.observer, rented.remote
        yield Ports(
            providers=providers,
            observers=observers,
            remotes=remotes,
            escrow=escrow,
            clock=SystemClock((state.boot, state.steady_s, state.resumed_at) if state.boot else None, state.last_at),
            interrupted=interrupted,
            on_news=news,
            on_event=on_event,
        )


def local_box(folder: Path) -> LocalBox:
    """This machine's boxes; ``folder``: the home of the run that uses it."""
    from orchestrator.backends.local import LocalBox

    return LocalBox(state_dir() / "local", folder / BUNDLE_DIR, folder)


def observers() -> dict[str, Observer]:
    """Every account that can be reached from here, by backend."""
    from orchestrator.cli import places

    return {"local": local_box(state_dir() / "swept"), **places.observers()}


def providers() -> dict[str, Provider]:
    """Who ends instances in those accounts, by backend."""
    from orchestrator.cli import renting

    return {"local": local_box(state_dir() / "swept"), **renting.providers(state_dir() / "swept")}


def observer_title(place: str) -> str:
    """Who proves the teardown, in words; for a rented instance, the cloud's own list."""
    if place == "local":
        return "this machine's process list and disk"
    from orchestrator.cli import places

    return places.observer(place).title
