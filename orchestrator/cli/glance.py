"""After an import: check, estimate and plan of that very job in one screen, as far as it can be known here and now. Rents nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.cli.estimate_view import sentence
from orchestrator.cli.estimating import problems_for_a_person, shape_of_model
from orchestrator.cli.plan_view import in_words
from orchestrator.cli.planning import planned
from orchestrator.errors import CloudtuneError, NoOfferFits
from orchestrator.estimate.gpus import find_gpu
from orchestrator.estimate.job import workload_of
from orchestrator.ledger.paths import config_dir
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import load_job

if TYPE_CHECKING:
    from orchestrator.plan.plan import Plan
    from orchestrator.spec.notebook import Imported

DEARER = 2.0
HERE = "T4"  # the card that Kaggle and Colab give


def show(imported: Imported, target: Path) -> None:
    """Print what the job will need and cost. What cannot be known is said, with what to type; it never fails the import."""
    console = output.answers()
    console.print()
    try:
        job, notes = _as_it_is_here(load_job(target, flags={}, user_config=config_dir() / "config.yaml"), imported, target.name)
    except CloudtuneError as error:
        console.print(f"check: {error.message}" + (f" ({error.hint})" if error.hint else ""), markup=False, soft_wrap=True)
        return
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    try:
        with problems_for_a_person():
            console.print(f"estimate: {sentence(workload_of(job.spec, shape_of_model(job, offline=True)), find_gpu(HERE))}", soft_wrap=True)
    except CloudtuneError as error:
        console.print(f"estimate: {error.message}", markup=False, soft_wrap=True)
    try:
        plan = planned(job, offline=True)
    except NoOfferFits as error:
        console.print(f"plan: {error.message}; {error.hint}", markup=False, soft_wrap=True)
        return
    except CloudtuneError as error:
        console.print(
            f"check: {error.message}\nplan: hours and dollars are known once the data can be read here", markup=False, soft_wrap=True
        )
        return
    for line in in_short(plan):
        console.print(line, markup=False, soft_wrap=True)


def _as_it_is_here(job: Job, imported: Imported, target_name: str) -> tuple[Job, list[str]]:
    """The job with the Hub's name of a model, and the data, where the notebook's paths lead nowhere on this machine."""
    spec, notes = job.spec, []
    if imported.hub_id and not Path(spec.model).exists() and spec.model != imported.hub_id:
        spec = dataclasses.replace(spec, model=imported.hub_id)
        same = f"{imported.hub_id}, which has the same weights"
        notes.append(f"model: {job.spec.model} is not here; reckoned with {same}: write that into {target_name} to run it")
    path = spec.dataset.path
    beside = Path(job.folder, Path(path).name)
    if path.startswith("/kaggle/") and not Path(path).exists() and beside.exists():
        spec = dataclasses.replace(spec, dataset=dataclasses.replace(spec.dataset, path=beside.name))
        notes.append(f"data: {path} is not here; reckoned with ./{beside.name}: write that into {target_name} to run it")
    return dataclasses.replace(job, spec=spec), notes


def in_short(plan: Plan) -> list[str]:
    """What the notebook's own place makes of the job, and the cheapest and the quickest place that are paid for."""
    lines = [f"{item.title}: {item.reason}" for item in plan.rejected if item.title.startswith("kaggle")]
    free = [r for r in plan.ranked if r.offer.free]
    paid = [r for r in plan.ranked if not r.offer.free]
    lines += [in_words(plan.ranked.index(r) + 1, r) for r in free]
    if paid:
        lines.append("cheapest: " + in_words(plan.ranked.index(paid[0]) + 1, paid[0]))
        quicker = min((r for r in paid if r.usd.expected <= paid[0].usd.expected * DEARER), key=lambda r: r.cost.total_s.expected)
        if quicker is not paid[0]:
            lines.append("quickest for at most twice that: " + in_words(plan.ranked.index(quicker) + 1, quicker))
        budget = math.ceil(paid[0].usd.high * 100) / 100
        lines.append(f"cloudtune run --budget {budget:.2f} would do it with room to spare; cloudtune plan shows all offers.")
    return [f"plan: {line}" for line in lines]
