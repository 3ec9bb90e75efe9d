"""offers: the prices that plans are made from, how old they are and where they are from; refresh fetches newer ones."""

from __future__ import annotations

import time

from orchestrator.backends.offers.market import age_days, age_warnings, market
from orchestrator.cli import output
from orchestrator.errors import ExitCode, UsageProblem
from orchestrator.ledger.paths import cache_dir

_BESIDES_SOURCE = 66  # columns that the others of the table take


def offers(action: str | None) -> int:
    """The ``offers`` command. Returns the exit code. Raises UsageProblem."""
    if action not in (None, "refresh"):
        raise UsageProblem(f"offers takes nothing or 'refresh', not {action!r}", hint="cloudtune offers refresh")
    folder = cache_dir() / "offers"
    failed = _refresh() if action == "refresh" else False
    found, now = market(folder), time.time()
    rows = sorted(found.offers, key=lambda o: (o.usd_per_hour / o.count, o.cloud, o.gpu))
    if output.as_json():
        shown = (
            "cloud",
            "region",
            "instance_type",
            "gpu",
            "count",
            "spot",
            "usd_per_hour",
            "usable_gib",
            "guard",
            "proof",
            "as_of",
            "source",
        )
        output.print_json(
            {
                "offers": [{name: getattr(o, name) for name in shown} for o in rows],
                "quarantined": [{"where": q.where, "offer": q.title, "reason": q.why} for q in found.quarantined],
                "left_out": [{"offer": title, "reason": why} for title, why in found.left_out],
                "refreshed": list(found.refreshed),
                "warnings": [*found.warnings, *age_warnings(found.offers, now)],
            }
        )
        return ExitCode.USAGE if failed else ExitCode.OK
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("cloud", "offers", "from $ a GPU-hour", "as of", "days old", "source"):
        table.add_column(heading, no_wrap=True)
    console = output.answers()
    room = max(12, console.width - _BESIDES_SOURCE)
    for cloud in sorted({o.cloud for o in rows}):
        here = [o for o in rows if o.cloud == cloud]
        newest = max(o.as_of for o in here)
        cheapest = here[0]
        price = f"{cheapest.usd_per_hour / cheapest.count:.3f} {cheapest.gpu}{' spot' if cheapest.spot else ''}"
        source = next(o.source for o in here if o.as_of == newest)
        table.add_row(
            cloud,
            str(len(here)),
            price,
            newest,
            f"{max(0.0, age_days(newest, now)):.0f}",
            source if len(source) <= room else source[: room - 1] + "…",
        )
    console.print(table)
    for doubted in found.quarantined:
        output.messages().print(f"not believed: {doubted.where}: {doubted.title}: {doubted.why}", markup=False)
    for warning in (*found.warnings, *age_warnings(found.offers, now)):
        output.messages().print(f"warning: {warning}", markup=False)
    return ExitCode.USAGE if failed else ExitCode.OK


def _refresh() -> bool:
    """Fetch everything; say what came and what did not. True when nothing came."""
    from orchestrator.backends.offers.refresh import refresh_all

    results = refresh_all(cache_dir() / "offers")
    for cloud, (count, problem) in results.items():
        output.messages().print(problem or f"{cloud}: {count} rows", markup=False, soft_wrap=True)
    if all(problem is not None for _, problem in results.values()):
        output.messages().print("Nothing was refreshed; the prices of before are used.", markup=False)
    return all(problem is not None for _, problem in results.values())
