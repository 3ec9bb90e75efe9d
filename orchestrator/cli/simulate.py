"""run --infra simulated: one seeded night, shown to a person, sped up; nothing of the user's is touched."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from orchestrator.backends.simulated.checks import problems
from orchestrator.backends.simulated.faults import HARSH
from orchestrator.backends.simulated.night import play
from orchestrator.backends.simulated.world import NEVER, START, World
from orchestrator.cli import output
from orchestrator.cli.receipt_view import print_receipt
from orchestrator.errors import CloudtuneError
from orchestrator.ledger.paths import state_dir
from orchestrator.ledger.receipt import exit_code, receipt
from orchestrator.run import events as ev
from orchestrator.run.state import RunState

PAUSE_S = 0.03  # between two lines in a terminal
_QUIET = (ev.Progressed, ev.Created, ev.DestroySent, ev.StopAsked, ev.Armed)


def run(seed: int) -> int:
    """Play and print one night; the exit code that a real run would have had."""
    console = output.messages()
    console.print(f"a simulated night, seed {seed}: everything below is made up, the engine is the real one", markup=False)

    def show(world: World, state: RunState, event: ev.AnyEvent) -> None:
        if isinstance(event, _QUIET):
            return
        hours = (world.now - START) / 3600.0
        truth = f"true bill ${world.bill_usd():.3f}, journal ${state.total_usd(event.at):.3f} of ${state.cap_usd or 0.0:.2f}"
        console.print(f"{hours:6.2f} h  {_words(state, event):<58} {truth}", markup=False)
        if sys.stderr.isatty():
            time.sleep(PAUSE_S)

    night = play(seed, HARSH, tracer=show)
    if night.state.outcome is None:
        raise CloudtuneError(f"seed {seed} did not settle: {problems(night)}")
    document = receipt(night.state, output="(simulated)", observer="the simulated cloud's own list")
    document["simulated"] = {
        "seed": seed,
        "true_bill_usd": round(night.world.bill_usd(NEVER), 6),
        "controllers": night.controllers,
        "faults": dict(sorted(night.world.counts.items())),
        "problems": problems(night),
    }
    print_receipt(document, state_dir())
    if not output.as_json():
        faults = ", ".join(f"{kind} {count}" for kind, count in document["simulated"]["faults"].items()) or "none"
        output.answers().print(f"true bill    ${document['simulated']['true_bill_usd']:.2f}\nfaults       {faults}", markup=False)
    return exit_code(night.state)


def _words(state: RunState, event: ev.AnyEvent) -> str:
    """One event in a few words."""
    body: dict[str, Any] = msgspec.to_builtins(event)
    command = body.get("command", {})
    if isinstance(event, ev.Planned):
        return "planned"
    if isinstance(event, ev.Resumed):
        return f"controller {event.controller} takes over ({event.boot})"
    if isinstance(event, ev.Intended):
        offer = f" {state.offers[command['offer']].title()}" if "offer" in command else ""
        return f"{command['do']}{offer}"
    if isinstance(event, ev.Concluded):
        return f"{command['do']}: {command.get('reason') or '$' + format(command.get('billed_usd', 0.0), '.3f')}"
    if isinstance(event, ev.Seen):
        return "listed: " + (
            ", ".join(f"{i.gpu} ${i.usd_per_hour:.3f}/h{'' if i.ready else ' booting'}" for i in event.instances) or "nothing"
        )
    if isinstance(event, ev.Failed):
        return f"{event.action} failed: {event.detail}"
    if isinstance(event, ev.CreateFailed):
        return f"{event.reason.value}: {event.detail}"
    if isinstance(event, ev.JobEnded):
        return f"the trainer ended with {event.result.exit_code} after step {event.result.steps}"
    if isinstance(event, ev.CheckpointHome):
        return f"checkpoint of step {event.step} is home"
    return str(body["kind"]).replace("_", " ")
