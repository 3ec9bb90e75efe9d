"""cost, sweep, down: what is being charged right now, what nobody uses any more, and the end of a run at once."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from orchestrator.cli import output, running, wiring
from orchestrator.errors import CloudtuneError, ExitCode, TeardownUnconfirmed
from orchestrator.ledger.journal import Ledger
from orchestrator.ledger.money import Account, charging, spent
from orchestrator.ledger.sweep import Judged, Verdict, judge
from orchestrator.run.events import Reason
from orchestrator.run.ports import Observer, PortError, Provider
from orchestrator.run.state import RunState

CONFIRM_TRIES = 10  # looks after a destroy call, until it counts as unconfirmed
CONFIRM_PAUSE_S = 1.0


def _states(ledger: Ledger) -> dict[str, RunState]:
    """Every run's state, the newest first; a damaged one is named and left out."""
    states = {}
    for record in ledger.runs():
        try:
            states[record.run] = ledger.state(record.run)
        except CloudtuneError as error:
            output.messages().print(f"run {record.run}: {error.message}", markup=False)
    return states


def cost() -> int:
    """The ``cost`` command."""
    ledger = wiring.open_ledger()
    accounts = []
    for backend, observer in wiring.observers().items():
        title = wiring.observer_title(backend)
        try:
            accounts.append(Account(title=title, instances=observer.everything()))
        except PortError as error:
            accounts.append(Account(title=title, unknown=str(error)))
    document = charging(accounts) | spent(_states(ledger), time.time())
    if output.as_json():
        output.print_json(document)
    else:
        _print_cost(document)
    return ExitCode.OK


def _print_cost(document: dict[str, Any]) -> None:
    console = output.answers()
    words = {True: "Yes, something is being charged", False: "No, nothing is being charged", None: "Unknown: an account did not answer"}
    rate = document["usd_per_hour"]
    at_least = "at least " if document["at_least"] and rate else ""
    console.print(words[document["charging"]] + (f": {at_least}${rate:.3f} an hour." if rate else "."), markup=False)
    for account in document["accounts"]:
        state = account["unknown"] or f"{len(account['instances'])} running or stored, ${account['usd_per_hour']:.3f} an hour"
        console.print(f"  {account['account']}: {'unknown: ' if account['unknown'] else ''}{state}", markup=False)
        for instance in account["instances"]:
            note = "stopped, its disk may be charged" if instance["stopped"] else instance["gpu"]
            console.print(f"    {instance['name']}  ${instance['usd_per_hour']:.3f}/h  {note}".rstrip(), markup=False)
    for run in document["runs"]:
        cap = f" of ${run['cap_usd']:.2f}" if run["cap_usd"] is not None else ""
        console.print(f"  run {run['run']}  {run['outcome'] or 'going on'}  ${run['cost_usd']:.2f}{cap}  {run['began_at']}", markup=False)
    console.print(f"All runs together: ${document['total_usd']:.2f}", markup=False)
    for gpu, learned in document["corrections"].items():
        console.print(f"  on {gpu}, {learned['runs']} runs took {learned['factor']:.2f} times what was expected", markup=False)


def sweep(everything: bool, ask: bool) -> int:
    """The ``sweep`` command. Raises TeardownUnconfirmed when something that was ended is still listed."""
    ledger = wiring.open_ledger()
    states, installation = _states(ledger), ledger.database.installation()
    judged: list[Judged] = []
    unasked: list[str] = []
    observers, providers = wiring.observers(), wiring.providers()
    for backend, observer in observers.items():
        try:
            judged += judge(backend, observer.everything(), installation, states, time.time())
        except PortError as error:
            unasked.append(f"{wiring.observer_title(backend)}: {error}")
    doomed = [item for item in judged if item.destroyed(everything=everything)]
    console = output.messages()
    for item in judged:
        console.print(f"{item.instance.name}: {item.verdict.value}: {item.why}", markup=False)
    foreign = [item for item in doomed if item.verdict is Verdict.FOREIGN]
    if foreign and ask and not _agreed(len(foreign)):
        doomed = [item for item in doomed if item.verdict is Verdict.ORPHAN]
    left = [item.instance.name for item in doomed if not _end(providers[item.backend], observers[item.backend], item)]
    document = {
        "found": [msgspec.to_builtins(item) for item in judged],
        "destroyed": [item.instance.name for item in doomed if item.instance.name not in left],
        "left": left,
        "unknown": unasked,
    }
    if output.as_json():
        output.print_json(document)
    else:
        words = f"{len(document['destroyed'])} ended" if doomed else "Nothing to sweep"
        output.answers().print(words + (f"; could not ask {', '.join(unasked)}" if unasked else "."), markup=False)
    if left or unasked:
        problem = f"still listed: {', '.join(left)}" if left else f"could not ask {', '.join(unasked)}"
        raise TeardownUnconfirmed(f"sweep is not complete: {problem}", hint="cloudtune sweep again", charged=", ".join(left) or "unknown")
    return ExitCode.OK


def _agreed(count: int) -> bool:
    import typer

    return typer.confirm(f"End {count} instances of other installations?", default=False, err=True)


def _end(provider: Provider, observer: Observer, item: Judged) -> bool:
    """Destroy one instance and look until it is gone; False when that cannot be confirmed."""
    for _ in range(CONFIRM_TRIES):
        try:
            provider.destroy(item.instance.name, (item.instance.id,))
            if not any(i.id == item.instance.id for i in observer.instances(item.instance.name)):
                return True
        except PortError as error:
            output.messages().print(f"{item.instance.name}: {error}", markup=False)
        time.sleep(CONFIRM_PAUSE_S)
    return False


def down(given: str) -> int:
    """The ``down`` command: end a run at once; what is only on the box is lost."""
    ledger = wiring.open_ledger()
    record = ledger.find(given)
    if ledger.state(record.run).outcome is None:
        ledger.wish(record.run, Reason.DOWN, time.time())
    return running.attach(record.run)
