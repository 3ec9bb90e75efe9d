"""From a job to its plan: sizes it, gathers what is on sale, ranks. Shared by ``plan`` and ``run``; prints nothing."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.backends.bundle import fingerprint
from orchestrator.backends.datasets import locate
from orchestrator.backends.examine import Counted, count, kept_report, refuse_failed
from orchestrator.backends.offers.free import kaggle_offer, local_gpu
from orchestrator.backends.offers.market import Market, age_warnings, market
from orchestrator.cli import output
from orchestrator.cli.estimating import problems_for_a_person, shape_of_model
from orchestrator.data.prepare import Prepared, prepare
from orchestrator.errors import LedgerProblem, NoOfferFits, UsageProblem
from orchestrator.estimate.job import Tokens, tokens_of_lengths, workload_of
from orchestrator.estimate.problems import EstimateProblem
from orchestrator.ledger.paths import cache_dir, config_dir, state_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.facts import JobFacts, Limits
from orchestrator.plan.offers import Offer
from orchestrator.plan.plan import Plan, fastest_s, make_plan, smallest_budget_usd
from orchestrator.plan.rank import Ranked, Ranking, Rejected, in_place, rank
from orchestrator.plan.saved import limits_document
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import find_job_file, load_job

LEDGER = "ledger.sqlite"  # looked for before any of the code is loaded that reads it
STARTABLE = frozenset({"local", "skypilot"})


def planned(
    job: Job,
    *,
    offline: bool,
    prepared: Prepared | None = None,
    keep_quality: bool = False,
    allow_unguarded: bool = False,
    startable: frozenset[str] = STARTABLE,
    pace: Mapping[str, float] | None = None,
    policy: Policy | None = None,
    now: float | None = None,
    own: tuple[Offer, ...] = (),
    share: float = 1.0,
) -> Plan:
    """The plan of a job: ``plan.offers`` is what a run may try, best first, each exact enough to be rented.

    ``prepared``: the data, if it was read already; ``startable``: backends that exist; ``pace``: factors on the training
    time by GPU, None: those of earlier runs; ``now``: seconds since 1970; ``own``: offers that no price list has; ``share``: of the
    training that is still to be done: money and time are of that, and each offer's expected_s of all of it.
    Raises NoOfferFits (exit 3, with what would help),
    ModelProblem, DataProblem or UsageProblem.
    """
    moment = time.time() if now is None else now
    bounds, rules = limits_of(job, keep_quality=keep_quality, allow_unguarded=allow_unguarded, startable=startable), policy or Policy()
    left, quota_doubt = _kaggle_left(bounds, offline)
    bounds = replace(bounds, left_h=left)
    rows = prepared or _prepared(job, offline=offline)
    facts, unchecked = facts_of(job, rows, offline=offline)
    facts = replace(facts, tokens=max(1, round(facts.tokens * share)))
    refresh_notes = () if offline else _refreshed(bounds, moment)
    found = market(cache_dir() / "offers", lambda cloud, region: in_place(bounds.infra, cloud, region))
    free, missing = _free()
    missing = missing if in_place(bounds.infra, "local", "") else ()
    factors, doubt = (pace, ()) if pace is not None else learned(job)
    try:
        ranking = rank((*free, *own, *found.offers), facts, bounds, rules, factors)
    except EstimateProblem as error:
        raise UsageProblem(
            error.message, hint=error.hint or "cloudtune offers -o json names every card, such as RTX4090, L4, A100-80GB"
        ) from error
    ranking = Ranking(
        ranked=tuple(_of_all(r, share) for r in ranking.ranked), rejected=(*missing, *ranking.rejected, *_never_on_sale(found, bounds))
    )
    if not ranking.ranked:
        if strange := _unheard_of(bounds, found, (*free, *own)):
            raise UsageProblem("; ".join(strange), hint="cloudtune offers lists the clouds; --infra also takes local, kaggle and slurm")
        raise _none_fits(ranking, bounds)
    ranked_offers = tuple(r.offer for r in ranking.ranked)
    return make_plan(
        job_fingerprint=_job_fingerprint(job, facts), made_at=moment, live=bool(found.refreshed), facts=facts, limits=bounds, policy=rules,
        ranking=ranking, job=fingerprint(job, rows), unchecked=(*unchecked, *_unchecked(ranked_offers), *quota_doubt),
        warnings=(*doubt, *refresh_notes, *found.warnings, *_doubts(found),
                  *age_warnings(ranked_offers, moment), *_unheard_of(bounds, found, (*free, *own)), *_strange_credits(bounds, found, own)),
    )  # fmt: skip


def _of_all(ranked: Ranked, share: float) -> Ranked:
    """Its offer with the time of the whole training, which is what a run's decisions and receipts count from."""
    whole = None if ranked.offer.expected_s is None else ranked.offer.expected_s / share
    return ranked if share == 1.0 else replace(ranked, offer=msgspec.structs.replace(ranked.offer, expected_s=whole))


def learned(job: Job) -> tuple[dict[str, float], tuple[str, ...]]:
    """(factors on the training time by GPU, a warning where they cannot be read). A ledger that is not there is not made."""
    if not job.spec.resources.correct_estimates or not (state_dir() / LEDGER).is_file():
        return {}, ()
    from orchestrator.cli.wiring import open_ledger
    from orchestrator.ledger.corrections import paces

    try:
        ledger = open_ledger()
        return paces(ledger.state(record.run) for record in ledger.runs()), ()
    except LedgerProblem as error:
        return {}, (f"earlier runs cannot be read, and correct no estimate: {error.message}",)


def _prepared(job: Job, *, offline: bool) -> Prepared:
    """The job's rows; what an earlier check found is believed, and nothing is counted that was not."""
    located = locate(job, offline=offline)
    report = kept_report(job, offline=offline, located=located)
    if report is not None:
        refuse_failed(report, job)
    return prepare(job, located, unfit=frozenset(report.unfit) if report is not None else ())


def limits_of(job: Job, *, keep_quality: bool, allow_unguarded: bool, startable: frozenset[str]) -> Limits:
    """The job's own limits, with those of the command."""
    spec = job.spec
    gpus = (spec.resources.gpus,) if isinstance(spec.resources.gpus, str) else spec.resources.gpus
    spot = spec.resources.use_spot
    return Limits(
        cap_usd=spec.limits.budget_usd, deadline_s=spec.limits.deadline_s, infra=spec.resources.infra,
        gpus=() if gpus == ("any",) else gpus, spot=None if spot == "auto" else spot, allow_unguarded=allow_unguarded,
        keep_quality=keep_quality, credits_usd=tuple(sorted(spec.resources.credits.items())), backends=startable,
    )  # fmt: skip


def tokens_of(job: Job, prepared: Prepared, *, offline: bool) -> tuple[Tokens, int, Counted]:
    """(tokens trained, tokens scored before and after, how they were counted). The one place that counts."""
    counted, spec = count(job, prepared, offline=offline, located=locate(job, offline=offline)), job.spec
    passes = (2 if spec.evaluation.before else 1) if prepared.held_out else 0
    return tokens_of_lengths(spec, counted.train, counted.measured), sum(counted.held_out) * passes, counted


def facts_of(job: Job, prepared: Prepared, *, offline: bool) -> tuple[JobFacts, tuple[str, ...]]:
    """The job, sized, and what could not be looked at. Raises ModelProblem or UsageProblem."""
    with problems_for_a_person():
        workload = workload_of(job.spec, shape_of_model(job, offline=offline), labels=len(prepared.labels))
    tokens, scored, counted = tokens_of(job, prepared, offline=offline)
    facts = JobFacts(workload=workload, tokens=max(1, tokens.total), mean_length=tokens.mean_length, evaluated_tokens=scored,
                     save_steps=job.spec.training.save_steps, counted=counted.exact, padding=tokens.padding)  # fmt: skip
    return facts, () if counted.exact else (counted.how,)


def _refreshed(bounds: Limits, now: float) -> tuple[str, ...]:
    """Look at the marketplaces again when what is known of them is old; what did not work, in words."""
    from orchestrator.backends.offers.refresh import MARKETPLACES, refresh_stale

    wanted = [cloud for cloud in MARKETPLACES if in_place(bounds.infra, cloud, "") or any(p.startswith(f"{cloud}/") for p in bounds.infra)]
    return refresh_stale(cache_dir() / "offers", wanted, now, deadline_s=bounds.deadline_s)


def _free() -> tuple[tuple[Offer, ...], tuple[Rejected, ...]]:
    """Offers at $0, and those that are not there with the reason."""
    here, why = local_gpu()
    offers = (kaggle_offer(),) if here is None else (here, kaggle_offer())
    return offers, () if here is not None else (Rejected(title="local $0", reason=why),)


def _unheard_of(bounds: Limits, found: Market, besides: tuple[Offer, ...]) -> tuple[str, ...]:
    """Places asked for that nothing is known of: misspelt, or nothing is on sale there at all."""
    known = (
        {o.cloud for o in (*found.offers, *besides)}
        | {title.split(" ")[0] for title, _ in found.left_out}
        | {"local", "kaggle", "slurm", "*"}
    )
    missing = [place for place in bounds.infra if place.split("/")[0] not in known]
    if not missing:
        return ()
    from orchestrator.backends.offers.snapshot import snapshot_offers  # all of them: a region may be wrong, and the cloud right

    known |= {offer.cloud for offer in snapshot_offers()}
    return tuple(f"nothing is known of a place called {place}" for place in missing if place.split("/")[0] not in known)


def _never_on_sale(found: Market, bounds: Limits) -> tuple[Rejected, ...]:
    """What is left out of the price lists, at the places asked for, and the prices that are not believed."""
    asked = {place.split("/")[0] for place in bounds.infra}
    out = [Rejected(title=title, reason=why) for title, why in found.left_out if not asked or asked & {"*", title.split(" ")[0]}]
    return (*out, *(Rejected(title=q.title, reason=f"{q.why} ({q.where})") for q in found.quarantined))


def _doubts(found: Market) -> tuple[str, ...]:
    count = len(found.quarantined)
    return (f"{count} price{'s are' if count != 1 else ' is'} not believed and left out (listed among the rejected)",) if count else ()


def _unchecked(offers: tuple[Offer, ...]) -> tuple[str, ...]:
    said = []
    if any(not offer.free for offer in offers):
        said.append("whether you have an account, a quota and credentials at these clouds, and whether they have the card free right now")
    return tuple(said)


def _kaggle_left(bounds: Limits, offline: bool) -> tuple[tuple[tuple[str, float], ...], tuple[str, ...]]:
    """(hours left on Kaggle this week, what could not be looked at)."""
    if not in_place(bounds.infra, "kaggle", ""):
        return (), ()
    from orchestrator.backends.offers.kaggle import gpu_hours_left

    left, why = (None, "") if offline else gpu_hours_left()
    if left is not None:
        return (("kaggle", left),), ()
    return (), ("Kaggle's quota left this week" + (f": {why}" if why else ""),)


def _strange_credits(bounds: Limits, found: Market, own: tuple[Offer, ...]) -> tuple[str, ...]:
    """Credits at places that nothing is known of: a name misspelled lowers no price."""
    known = {offer.cloud for offer in (*found.offers, *own)} | {title.split(" ")[0] for title, _ in found.left_out}
    strange = [cloud for cloud, _ in bounds.credits_usd if cloud not in known and in_place(bounds.infra, cloud, "")]
    return tuple(f"resources.credits names {cloud}, and nothing is on sale there under that name" for cloud in strange)


def _job_fingerprint(job: Job, facts: JobFacts) -> str:
    """What is learned and how much of it, without where it runs."""
    spec = json.dumps(msgspec.to_builtins(job.spec), sort_keys=True)
    return hashlib.sha256(f"{spec}{facts.tokens}{facts.mean_length}{facts.evaluated_tokens}".encode()).hexdigest()


def _lasting(seconds: float) -> str:
    """A duration in words; "0.0 h" says nothing."""
    return f"{seconds / 60:.0f} min" if seconds < 5400.0 else f"{seconds / 3600:.1f} h"


def _none_fits(ranking: Ranking, bounds: Limits) -> NoOfferFits:
    """Exit 3: why, with the smallest budget or the fastest offer, and what would lower it."""
    budget, fastest = smallest_budget_usd(ranking.rejected), fastest_s(ranking.rejected)
    if budget is not None:
        changes = ["fewer epochs or rows", "a shorter training.max_length"]
        changes += [] if bounds.spot is None or bounds.spot else ["use_spot: true"]
        changes += [] if bounds.allow_unguarded else ["--allow-unguarded"]
        changes += [] if not bounds.infra else ["more places in --infra"]
        return NoOfferFits(
            f"no offer can do this job for ${bounds.cap_usd:.2f}; the smallest budget that works is ${budget:.2f}",
            hint=f"--budget {budget:.2f}; or lower the cost with {', '.join(changes)}",
        )
    if fastest is not None and bounds.deadline_s is not None:
        enough = f"{math.ceil(fastest / 60)}m" if fastest < 5400.0 else f"{math.ceil(fastest / 360) / 10:.1f}h"
        return NoOfferFits(
            f"no card does this job within {_lasting(bounds.deadline_s)}; the fastest takes {_lasting(fastest)}, all included",
            hint=f"--deadline {enough}; or fewer epochs or rows",
        )
    reasons: dict[str, int] = {}
    for item in ranking.rejected:
        key = item.reason.split(": ")[0]
        reasons[key] = reasons.get(key, 0) + 1
    listed = "; ".join(f"{count}× {reason}" for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:4])
    return NoOfferFits(
        f"no offer fits this job: {listed}", hint="cloudtune estimate shows what would make it fit; --infra and --gpus narrow"
    )


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as other programs read it."""
    best = plan.ranked[0]
    return {
        "fingerprint": plan.fingerprint, "job": plan.job, "made_at": round(plan.made_at), "expires_at": round(plan.expires_at),
        "limits": limits_document(plan.limits),
        "tokens": plan.facts.tokens, "tokens_counted": plan.facts.counted,
        "offers": [
            {"rank": place, "cloud": r.offer.cloud, "region": r.offer.region, "instance_type": r.offer.instance_type, "gpu": r.offer.gpu,
             "card": r.card, "count": r.offer.count, "spot": r.offer.spot, "usd_per_hour": r.offer.usd_per_hour,
             "hours": _band(r.cost.total_s.times(1 / 3600)), "training_hours": _band(r.cost.training_s.times(1 / 3600)),
             "usd_per_job": _band(r.usd), "credit_usd": round(r.credit_usd, 4), "peak_gib": round(r.peak_gib, 2),
             "usable_gib": round(r.offer.usable_gib, 2), "verdict": r.verdict, "changes": list(r.changes),
             "changes_what_is_learned": r.changes_learning, "guard": r.offer.guard, "proof": r.offer.proof, "as_of": r.offer.as_of,
             "source": r.offer.source, "affordable_s": None if r.affordable_s is None else round(r.affordable_s), "notes": list(r.notes)}
            for place, r in enumerate(plan.ranked, 1)
        ],
        "rejected": [{"offer": r.title, "reason": r.reason} for r in plan.rejected],
        "budget": {"cap_usd": plan.limits.cap_usd, "reserve_usd": round(plan.reserve_usd, 4),
                   "affordable_s": None if best.affordable_s is None else round(best.affordable_s)},
        "unchecked": list(plan.unchecked), "warnings": list(plan.warnings),
    }  # fmt: skip


def _band(band: Any) -> dict[str, float]:
    return {"low": round(band.low, 4), "expected": round(band.expected, 4), "high": round(band.high, 4)}


def plan_command(
    path: Path | None, flags: dict[tuple[str, ...], Any], *, offline: bool, keep_quality: bool, allow_unguarded: bool, explain: int | None
) -> None:
    """The ``plan`` command. Rents nothing."""
    job = load_job(find_job_file(path), flags=flags, user_config=config_dir() / "config.yaml")
    plan = planned(job, offline=offline, keep_quality=keep_quality, allow_unguarded=allow_unguarded)
    if explain is not None and not 1 <= explain <= len(plan.ranked):
        raise UsageProblem(f"there is no offer {explain}", hint=f"--explain takes 1 to {len(plan.ranked)}")
    from orchestrator.cli import plan_view, plans

    document = plan_document(plan) | {"asked": plans.asked_document(flags)}
    path = plans.keep(document)
    if output.as_json():
        origins = {key: origin for key, origin in job.origins.items() if key.split(".")[0] in ("limits", "resources", "model")}
        output.print_json(document | {"origins": origins})
        return

    if explain is not None:
        plan_view.explain(plan, explain, output.answers())
    else:
        plan_view.show(plan, output.answers())
        output.answers().print(plans.said(plan, path), markup=False, soft_wrap=True)
    for warning in plan.warnings:
        output.messages().print(f"warning: {warning}", markup=False)
    for item in plan.unchecked:
        output.messages().print(f"not checked: {item}", markup=False)
