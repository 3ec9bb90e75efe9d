"""The plan for a person: a table, the best three in words, one offer explained. No logic."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.backends.offers.market import age_days
from orchestrator.plan.cost import Band
from orchestrator.plan.plan import Plan
from orchestrator.plan.rank import Ranked

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 12
_BAR = 10


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _usd(amount: float) -> str:
    return "$0" if amount == 0.0 else f"${amount:.2f}"


def _range(band: Band) -> str:
    return _usd(band.expected) if band.high == 0.0 else f"{_usd(band.expected)} ({_usd(band.low)}-{_usd(band.high)})"


def _memory(r: Ranked) -> str:
    filled = min(_BAR, round(_BAR * r.peak_gib / max(r.offer.usable_gib, 0.1)))
    return "█" * filled + "·" * (_BAR - filled) + f" {r.peak_gib:.1f}/{r.offer.usable_gib:.0f}"


def _age(r: Ranked, now: float) -> str:
    return f"{max(0.0, age_days(r.offer.as_of, now)):.0f} d" if r.offer.as_of else ""


def where(r: Ranked) -> str:
    """Cloud and region."""
    return f"{r.offer.cloud}/{r.offer.region}" if r.offer.region else r.offer.cloud


_HEADINGS = ("#", "where", "GPU", "$/h", "time", "$ for the job", "memory GiB", "spot", "guard", "price's age")
_RIGHT = ("#", "$/h", "time", "price's age")
_WHERE_CHARS = 22


def _cells(place: int, r: Ranked, now: float) -> tuple[str, ...]:
    """One offer, a text for each heading."""
    gpu = r.offer.gpu + (f"×{r.offer.count}" if r.offer.count > 1 else "") + ("*" if r.changes else "")
    guard = r.offer.guard + (", unproved" if r.offer.proof == "unproved" else "")
    return (str(place), where(r), gpu, "0" if r.offer.free else f"{r.offer.usd_per_hour:.2f}", _hours(r.cost.total_s.expected),
            _range(r.usd), _memory(r), "spot" if r.offer.spot else "", guard, _age(r, now))  # fmt: skip


def _table(rows: list[tuple[str, ...]], console: Console) -> None:
    """A line an offer; two where the terminal is too narrow for one."""
    from rich.table import Table

    widths = [max(len(row[i]) for row in (_HEADINGS, *rows)) for i in range(len(_HEADINGS))]
    if sum(widths) + 2 * len(widths) <= console.width:
        table = Table(box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading in _RIGHT else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths[1] = min(widths[1], _WHERE_CHARS)
    for row in (_HEADINGS, *rows):
        at = row[1] if len(row[1]) <= widths[1] else row[1][: widths[1] - 1] + "…"
        first = [at.ljust(widths[1]) if i == 1 else row[i].rjust(w) if _HEADINGS[i] in _RIGHT else row[i].ljust(w)
                 for i, w in enumerate(widths[:6])]  # fmt: skip
        rest = [row[i] for i in range(6, len(row)) if row[i]]
        for line in ("  ".join(first), "    " + "  ".join(rest)):
            console.print(line.rstrip(), markup=False, soft_wrap=True)


def show(plan: Plan, console: Console) -> None:
    """The table, and what to know about it."""
    now = time.time()
    _table([_cells(place, r, now) for place, r in enumerate(plan.ranked[:SHOWN], 1)], console)
    if len(plan.ranked) > SHOWN:
        console.print(f"and {len(plan.ranked) - SHOWN} dearer ones (-o json lists them all)", markup=False)
    if any(r.changes for r in plan.ranked[:SHOWN]):
        console.print("* with changes: --explain RANK says which", markup=False)
    console.print()
    for place, r in enumerate(plan.ranked[:3], 1):
        console.print(in_words(place, r), markup=False, soft_wrap=True)
    for item in plan.rejected:
        if item.title.endswith(" $0"):  # what costs nothing is worth a line even where it cannot be had
            console.print(f"{item.title}: {item.reason}", markup=False, soft_wrap=True)
    reasons = Counter(item.reason.split(": ")[0] for item in plan.rejected)
    if reasons:
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
        console.print(f"{len(plan.rejected)} offers are out: {listed}", markup=False, soft_wrap=True)
    cap = plan.limits.cap_usd
    console.print(
        f"At most ${cap:.2f} can be charged." if cap is not None else "No budget was named: --budget caps what it may cost.", markup=False
    )


def in_words(place: int, r: Ranked) -> str:
    """One offer in a sentence."""
    kind = "spot " if r.offer.spot else ""
    text = f"{place}. {kind}{r.offer.gpu} at {where(r)}: about {_hours(r.cost.total_s.expected)} and {_range(r.usd)} for the whole job"
    if r.credit_usd:
        text += f", after ${r.credit_usd:.2f} of credit"
    return text + "".join(f"; {note}" for note in r.notes) + "."


def explain(plan: Plan, place: int, console: Console) -> None:
    """Everything that is known of one ranked offer."""
    r = plan.ranked[place - 1]
    cost = r.cost
    console.print(in_words(place, r), markup=False, soft_wrap=True)
    ends = "evaluation, saving, pulling, teardown" + (", interruptions" if r.offer.spot else "")
    parts = (
        ("start: boot, set-up, downloads", cost.start_s),
        (f"training on {r.card}", cost.training_s),
        (ends, cost.rest_s),
        ("all", cost.total_s),
    )
    for name, band in parts:
        console.print(f"  {name}: {_hours(band.expected)} ({_hours(band.low)} to {_hours(band.high)})", markup=False)
    said = {"fits": "fits", "tight": "is tight", "oom": "is out of memory"}[r.verdict]
    console.print(f"  memory: {r.peak_gib:.1f} of {r.offer.usable_gib:.1f} GiB, {said}", markup=False)
    for change in r.changes:
        console.print(f"  change: {change}", markup=False)
    if r.changes:
        console.print("  this changes what is learned" if r.changes_learning else "  what is learned stays the same", markup=False)
    console.print(f"  rents as: {r.offer.cloud} {r.offer.region or '(any region)'} {r.offer.instance_type or '(any type)'}", markup=False)
    console.print(
        f"  price: ${r.offer.usd_per_hour:.4f}/h, of {r.offer.as_of or 'now'}, from {r.offer.source}", markup=False, soft_wrap=True
    )
    console.print(f"  ended by: {r.offer.guard}; proof: {r.offer.proof}", markup=False)
    if r.affordable_s is not None:
        console.print(f"  the budget lasts {_hours(r.affordable_s)} here, at the worst", markup=False)
