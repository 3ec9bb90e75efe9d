"""What ``run --dry-run`` shows: what would be rented, what that can cost at most, what would leave this machine. Starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.backends.bundle import row_bytes, trainer_files
from orchestrator.cli import output
from orchestrator.cli.begin import Checked
from orchestrator.spec.jobspec import Job

SHOWN = 3


def show(job: Job, checked: Checked) -> None:
    """Print it, as text or JSON."""
    sent = uploads(job, checked)
    if output.as_json():
        output.print_json(document(job, checked, sent))
        return
    console = output.answers()
    if checked.plan is None:
        console.print(f"Would train on {checked.offers[0].title()}. Nothing was started.")
        return
    from orchestrator.cli.plan_view import in_words

    plan = checked.plan
    would = [r for r in plan.ranked if not r.changes_learning]
    console.print("Would rent, the first that can be had:", markup=False)
    for place, ranked in enumerate(would[:SHOWN], 1):
        console.print(in_words(place, ranked), markup=False, soft_wrap=True)
    if len(plan.offers) > SHOWN:
        console.print(f"and {len(plan.offers) - SHOWN} more (cloudtune plan lists them)", markup=False)
    cap = plan.limits.cap_usd
    if cap is not None:
        kept = f"${plan.reserve_usd:.2f} of it is kept for saving, the way home and teardown"
        console.print(f"At most ${cap:.2f} can be charged; {kept}.", markup=False)
    else:
        console.print("Nothing of it costs anything.", markup=False)
    console.print("Would be uploaded:", markup=False)
    for what, count in sent.items():
        console.print(f"  {what}: {_size(count)}", markup=False, soft_wrap=True)
    for line in _besides(job, checked):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    for warning in plan.warnings:
        output.messages().print(f"warning: {warning}", markup=False)
    console.print("Nothing was started.", markup=False)


def document(job: Job, checked: Checked, sent: dict[str, int]) -> dict[str, Any]:
    """The same for other programs."""
    found: dict[str, Any] = {"dry_run": True, "job": job.source, "found": checked.sentence, "offers": [o.title() for o in checked.offers]}
    if checked.plan is not None:
        from orchestrator.cli.planning import plan_document

        cap = checked.plan.limits.cap_usd
        found |= {"plan": plan_document(checked.plan), "at_most_usd": cap or 0.0, "reserve_usd": round(checked.plan.reserve_usd, 4),
                  "upload_bytes": sent, "besides": _besides(job, checked)}  # fmt: skip
    return found


def uploads(job: Job, checked: Checked) -> dict[str, int]:
    """Bytes that would leave this machine, by what they are."""
    if checked.plan is None:
        return {}
    from orchestrator.cli.renting import folders_of

    trained, held_out = row_bytes(checked.prepared)
    sent = {f"{len(checked.prepared.train)} rows to train on": trained}
    if checked.prepared.held_out:
        sent[f"{len(checked.prepared.held_out)} rows held out"] = held_out
    sent["the trainer's code"] = sum(path.stat().st_size for path, _ in trainer_files())
    for folder, name in folders_of(job, checked.model_from):
        sent[f"{name}, from {folder}"] = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return sent


def _besides(job: Job, checked: Checked) -> list[str]:
    """What comes to the instance from elsewhere, and what secret goes there."""
    from orchestrator.backends.models import OF_ACCOUNT
    from orchestrator.cli.renting import folders_of

    if checked.plan is None or folders_of(job, checked.model_from):
        return []
    billions = checked.plan.facts.download_bytes / 1e9
    said = [f"{job.spec.model} is downloaded there from the Hub, about {billions:.1f} GB"]
    if checked.model_from.startswith(OF_ACCOUNT):
        said.append("your Hub token goes there for that download, and is removed once the model is there")
    return said


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
