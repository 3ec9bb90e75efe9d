"""What choosing by the estimated cost of the job loses against hindsight, and saves against choosing by the hour.

    python -m benchmarks.cost_regret [--json] [--jobs 300] [--seed 0]

Two parts that are never mixed. ``measured``: jobs whose speed on several types of card was published; the card is chosen by
our estimate and scored by the measurement, at the cheapest bundled price of each card, training alone. ``synthetic``: made-up
jobs on the bundled offers, scored under a truth that differs from the estimate within the bands it states (one draw a card,
one a cloud, interruptions a draw each).

``saving_vs_cheapest_hour_pct``: against the cheapest offer an hour that fits memory, budget and deadline, on the same truth.
``saving_vs_skypilot_pct``: against SkyPilot 0.14.1's own optimizer, given price lists that hold the same offers and asked for any of
the accelerators that fit (benchmarks/sky_optimizer.py), on the same truth. It reckons one hour for every candidate and knows neither
budget nor deadline; a choice that those exclude, or that runs out of memory, is counted and has no saving. Without the extra ``sky``
this part is not run and says so.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.estimate_accuracy import Scored, quantile, score
from benchmarks.measurements import read_rows
from benchmarks.sky_optimizer import Key, NotRun, choices, key_of
from orchestrator.backends.offers.snapshot import snapshot_offers
from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.problems import EstimateProblem
from orchestrator.estimate.workload import Workload
from orchestrator.plan.budget import Policy
from orchestrator.plan.cards import card_of
from orchestrator.plan.cost import Band
from orchestrator.plan.facts import JobFacts, Limits
from orchestrator.plan.rank import Ranked, rank

DATA = Path(__file__).parent / "data" / "measurements.csv"
MODELS = (
    "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B", "mistralai/Mistral-7B-v0.1", "meta-llama/Meta-Llama-3-8B-Instruct",
    "google/gemma-2-9b", "Qwen/Qwen2.5-14B", "Qwen/Qwen2.5-32B", "meta-llama/Meta-Llama-3-70B",
)  # fmt: skip


def prices() -> dict[str, float]:
    """The cheapest bundled price a card and hour, on demand."""
    found: dict[str, float] = {}
    for offer in snapshot_offers():
        card = card_of(offer.cloud, offer.gpu, offer.instance_type)
        if card is not None and not offer.spot:
            found[card.name] = min(found.get(card.name, 1e9), offer.usd_per_hour / offer.count)
    return found


def measured() -> dict[str, Any]:
    """Part (a): regret of choosing a card by the estimate, in percent of the best measured cost."""
    known = prices()
    jobs: dict[tuple[Any, ...], dict[str, list[Scored]]] = defaultdict(lambda: defaultdict(list))
    for s in map(score, read_rows(DATA)):
        if s is None or s.speed_error is None or s.prediction.job is None or s.prediction.job.gpu is None:
            continue
        key, card = s.same_job, s.prediction.job.gpu.name
        if key is not None and card in known:
            jobs[key][card].append(s)
    regrets, by_hour = [], []
    for cards in jobs.values():
        if len(cards) < 2:
            continue
        true = {card: known[card] / statistics.median(s.speed or 1.0 for s in rows) for card, rows in cards.items()}
        guess = {card: known[card] / statistics.median(s.prediction.tokens_per_s or 1.0 for s in rows) for card, rows in cards.items()}
        best = min(true.values())
        regrets.append((true[min(guess, key=lambda c: guess[c])] / best - 1) * 100)
        by_hour.append((true[min(cards, key=lambda c: known[c])] / best - 1) * 100)
    return {"jobs": len(regrets), "regret_mean_pct": round(statistics.mean(regrets), 2), "regret_p95_pct": round(quantile(regrets, 0.95), 2),
            "regret_of_cheapest_hour_mean_pct": round(statistics.mean(by_hour), 2)}  # fmt: skip


def made_up(draw: random.Random) -> tuple[JobFacts, Limits] | None:
    """A job and its limits; None for one that cannot be sized."""
    length = draw.choice((256, 512, 1024, 2048, 4096))
    try:
        workload = Workload(
            shape=bundled_shape(draw.choice(MODELS)), quantization=draw.choice(("nf4", "nf4-double")), lora_r=draw.choice((8, 16, 32, 64)),
            micro_batch=draw.choice((1, 2, 4)), accumulation=draw.choice((4, 8)), max_length=length,
        )  # fmt: skip
    except EstimateProblem:
        return None
    mean = max(32, round(length * draw.uniform(0.2, 1.0)))
    facts = JobFacts(workload=workload, tokens=round(10 ** draw.uniform(5.3, 8.0)), mean_length=mean)
    deadline_s = draw.choice((None, None, 4 * 3600.0, 8 * 3600.0, 24 * 3600.0))
    return facts, Limits(
        cap_usd=draw.choice((None, 2.0, 5.0, 20.0, 100.0)), deadline_s=deadline_s, spot=draw.choice((None, False)), keep_quality=True
    )


def _in(band: Band, share: float) -> float:
    """A point of a band: -1 low, 0 expected, 1 high."""
    return band.expected + share * (band.high - band.expected if share > 0 else band.expected - band.low)


def truth_usd(r: Ranked, speed: float, start: float, rest: float) -> float:
    """What the job really costs on an offer under one draw."""
    seconds = _in(r.cost.start_s, start) + _in(r.cost.training_s, speed) + _in(r.cost.rest_s, rest)
    return r.cost.usd.expected * seconds / r.cost.total_s.expected


def synthetic(jobs: int, seed: int, *, ask_sky: bool = True) -> dict[str, Any]:
    """Part (b), with the savings."""
    draw = random.Random(seed)
    offers, policy = snapshot_offers(), Policy()
    regrets, hour, made_jobs = [], [], []
    while len(regrets) < jobs:
        made = made_up(draw)
        if made is None:
            continue
        facts, limits = made
        ranked = rank(offers, facts, limits, policy).ranked
        if len(ranked) < 2:
            continue
        cards = {r.card: draw.uniform(-1, 1) for r in ranked}
        clouds = {r.offer.cloud: draw.uniform(-1, 1) for r in ranked}
        true = [truth_usd(r, cards[r.card], clouds[r.offer.cloud], draw.uniform(-1, 1)) for r in ranked]
        regrets.append((true[0] / min(true) - 1) * 100)
        cheapest = min(range(len(ranked)), key=lambda i: ranked[i].offer.usd_per_hour)
        hour.append((1 - true[0] / true[cheapest]) * 100)
        fitting = rank(offers, facts, Limits(spot=limits.spot, keep_quality=True), policy).ranked
        made_jobs.append(MadeJob({key_of(r.offer): usd for r, usd in zip(ranked, true, strict=True)}, true[0], limits.spot,
                                 {key_of(r.offer) for r in fitting}))  # fmt: skip
    return {
        "synthetic": {"jobs": len(regrets), "regret_mean_pct": round(statistics.mean(regrets), 2), "regret_p95_pct": round(quantile(regrets, 0.95), 2)},
        "saving_vs_cheapest_hour_pct": _spread(hour),
        "saving_vs_skypilot_pct": against_sky(made_jobs) if ask_sky else {"not_run": "not asked for"},
    }  # fmt: skip


class MadeJob(NamedTuple):
    """What is needed to score another's choice: true dollars by offer, ours, whether spot is allowed, and what fits the memory."""

    true: dict[Key, float]
    ours: float
    spot: bool | None
    fitting: set[Key]


def against_sky(jobs: list[MadeJob]) -> dict[str, Any]:
    """What our choice saves against the one that SkyPilot's optimizer makes among the offers of guarded clouds, which are all we rank."""
    offers = [offer for offer in snapshot_offers() if offer.guard != "none"]
    asked = [(tuple(sorted({(gpu, count) for _, _, gpu, count, _ in job.fitting})), job.spot) for job in jobs]
    different = sorted(set(asked), key=repr)
    try:
        answers = dict(zip(different, choices(offers, different), strict=True))
    except NotRun as error:
        return {"not_run": str(error)}
    saved, beyond, too_small, nothing = [], 0, 0, 0
    for job, question in zip(jobs, asked, strict=True):
        taken = answers[question]
        if taken is None:
            nothing += 1
        elif taken in job.true:
            saved.append((1 - job.ours / job.true[taken]) * 100)
        elif taken in job.fitting:
            beyond += 1
        else:
            too_small += 1
    return _spread(saved) | {"its_choice_beyond_budget_or_deadline": beyond, "its_choice_out_of_memory": too_small, "it_found_nothing": nothing,
                             "questions": len(different)}  # fmt: skip


def _spread(values: list[float]) -> dict[str, Any]:
    return {"jobs": len(values), "p10": round(quantile(values, 0.1), 1), "median": round(statistics.median(values), 1),
            "p90": round(quantile(values, 0.9), 1), "mean": round(statistics.mean(values), 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_regret")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = {"measured": measured(), **synthetic(arguments.jobs, arguments.seed)}
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, values in result.items():
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
