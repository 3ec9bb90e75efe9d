"""How far the memory and speed estimates are from published measurements.

    python -m benchmarks.estimate_accuracy CSV [--json | --predict] [--rows]

``CSV`` is in the format of ``benchmarks/data/measurements.csv``. Without a flag: a report. ``--json``: the same as one JSON
document. ``--predict``: one JSON line a row, made with the outcome columns blanked. ``--rows``: every row of the report.

Three groups are kept apart: ``core`` (one GPU, settings stated, batches of fixed or capped length), ``varying`` (lengths
differ from batch to batch and only their limit is known) and ``several GPUs``. The report also predicts every row as if
its trainer's code had not been read (``unseen``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measurements import OUTCOME_COLUMNS, Job, Row, SkipRow, parse_row, read_rows
from orchestrator.estimate.duration import estimate_speed
from orchestrator.estimate.gpus import all_gpus
from orchestrator.estimate.memory import MemoryEstimate, estimate_memory
from orchestrator.estimate.problems import EstimateProblem


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is said of a row before its outcome is looked at. Memory in the row's own unit."""

    id: str
    job: Job | None = None
    low: float | None = None
    expected: float | None = None
    high: float | None = None
    verdict_by_gpu: dict[str, str] | None = None
    tokens_per_s: float | None = None
    skipped: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The line that ``--predict`` prints."""
        numbers = {name: None if value is None else round(value, 3) for name, value in self._numbers().items()}
        verdicts = dict(self.verdict_by_gpu or {})
        verdicts |= {gpu.name: verdicts[gpu.full_name] for gpu in all_gpus() if gpu.full_name in verdicts}  # under both names
        return {"id": self.id, **numbers, "verdict_by_gpu": verdicts, "skipped": self.skipped}

    def _numbers(self) -> dict[str, float | None]:
        return {"low": self.low, "expected": self.expected, "high": self.high, "tokens_per_s": self.tokens_per_s}


def predict(row: Row, *, seen: bool = True) -> Prediction:
    """One row's prediction, made from a copy whose outcome columns are blank."""
    blanked = {key: "" if key in OUTCOME_COLUMNS else value for key, value in row.items()}
    try:
        job = parse_row(blanked, seen=seen)
        estimate = estimate_memory(job.workload)
        needed = estimate_memory(replace(job.workload, varying_lengths=False, profile=replace(job.workload.profile, counter="process")))
    except (SkipRow, EstimateProblem) as reason:
        return Prediction(id=row["id"], skipped=str(reason).splitlines()[0])
    unit = job.unit_bytes
    return Prediction(
        id=row["id"], job=job, low=estimate.low / unit, expected=estimate.expected / unit, high=estimate.high / unit,
        verdict_by_gpu=_verdicts(estimate, needed), tokens_per_s=_speed(job),
    )  # fmt: skip


def _verdicts(reading: MemoryEstimate, needed: MemoryEstimate) -> dict[str, str]:
    """On every card: the process needs its context too, and a reading of reserved memory may exceed the need."""
    high = max(reading.high, needed.high)
    verdicts = {}
    for gpu in all_gpus():
        fits, beyond = high <= gpu.usable_bytes, needed.expected > gpu.usable_bytes
        verdicts[gpu.full_name] = "fits" if fits else "oom" if beyond else "tight"
    return verdicts


def _speed(job: Job) -> float | None:
    if job.gpu is None:
        return None
    speed = estimate_speed(job.workload, job.gpu, mean_length=job.lengths.typical, padding=job.trainer.padding)
    return speed.expected * job.trainer.pace / (job.workload.n_gpus if job.trainer.speed_per_gpu else 1)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A prediction next to what was measured."""

    prediction: Prediction
    source: str
    group: str
    kind: str  # LoRA | QLoRA | full
    peak: float | None
    speed: float | None
    outcome: str
    own_verdict: str | None  # on the card the row names

    @property
    def memory_error(self) -> float | None:
        """Relative, signed."""
        expected = self.prediction.expected
        return None if self.peak is None or expected is None else expected / self.peak - 1

    @property
    def speed_error(self) -> float | None:
        """Relative, signed."""
        expected = self.prediction.tokens_per_s
        return None if self.speed is None or expected is None else expected / self.speed - 1

    @property
    def same_job(self) -> tuple[Any, ...] | None:
        """Equal for rows that trained the same thing on different cards; None when the row names no job."""
        if self.prediction.job is None:
            return None
        w = self.prediction.job.workload
        return (
            self.source, w.shape.name, self.kind, w.micro_batch, w.max_length, w.lora_r, w.n_gpus, w.parallel, w.checkpointing,
            w.cpu_offload,
        )  # fmt: skip


def score(row: Row, *, seen: bool = True) -> Scored | None:
    """The row's prediction and outcome; None when the row was skipped."""
    made = predict(row, seen=seen)
    job = made.job
    if job is None:
        return None
    kind = "full" if job.workload.method == "full" else "QLoRA" if job.workload.quantized else "LoRA"
    verdicts = made.verdict_by_gpu or {}
    return Scored(
        prediction=made, source=_source(row), group=job.group, kind=kind, peak=_float(row["peak_mem_gib"]),
        speed=_float(row["tokens_per_s"]), outcome=row["outcome"], own_verdict=verdicts.get(job.gpu.full_name) if job.gpu else None,
    )  # fmt: skip


def _source(row: Row) -> str:
    return row["source"].split(":")[0].split("@")[0].split(" ")[0] or "?"


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the sorted values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(scored: Iterable[Scored]) -> dict[str, Any]:
    """Errors in percent, the share inside the band, and the band's widest half."""
    rows = [s for s in scored if s.memory_error is not None]
    if not rows:
        return {"rows": 0}
    errors = [abs(s.memory_error or 0.0) * 100 for s in rows]
    inside = [(s.prediction.low or 0) <= (s.peak or 0) <= (s.prediction.high or 0) for s in rows]
    halves = [((s.prediction.high or 0) / (s.prediction.expected or 1) - 1) * 100 for s in rows]
    return {
        "rows": len(rows), "median_pct": round(statistics.median(errors), 2), "p90_pct": round(quantile(errors, 0.9), 2),
        "bias_pct": round(statistics.mean([(s.memory_error or 0.0) * 100 for s in rows]), 2),
        "inside_share": round(sum(inside) / len(rows), 3), "widest_half_band_pct": round(max(halves), 1),
    }  # fmt: skip


def verdict_summary(scored: list[Scored]) -> dict[str, Any]:
    """Wrong fits (measured peak beyond a card said to fit), the share of tight, and what out-of-memory rows were called."""
    unit = {gpu.full_name: gpu.usable_bytes for gpu in all_gpus()}
    wrong, pairs, tight = [], 0, 0
    for s in scored:
        job = s.prediction.job
        if s.peak is None or job is None:
            continue
        for name, said in (s.prediction.verdict_by_gpu or {}).items():
            pairs += 1
            tight += said == "tight"
            if said == "fits" and s.peak * job.unit_bytes > unit[name]:
                wrong.append({"id": s.prediction.id, "gpu": name})
    called = Counter(s.own_verdict or "card unknown" for s in scored if s.outcome == "OOM")
    ran = Counter(s.own_verdict or "card unknown" for s in scored if s.outcome.startswith("ok") and s.peak is not None)
    share = round(tight / pairs, 3) if pairs else 0.0
    return {"pairs": pairs, "tight_share": share, "wrong_fits": wrong, "oom_rows_called": dict(called), "rows_that_ran_called": dict(ran)}


def speed_summary(scored: list[Scored]) -> dict[str, Any]:
    """Errors of tokens a second, and how often the order of two cards on one job is right."""
    rows = [s for s in scored if s.speed_error is not None]
    if not rows:
        return {"rows": 0}
    errors = [abs(s.speed_error or 0.0) * 100 for s in rows]
    right, pairs = _ordered_pairs(rows)
    cards = Counter(s.prediction.job.gpu.name for s in rows if s.prediction.job and s.prediction.job.gpu)
    return {
        "rows": len(rows), "median_pct": round(statistics.median(errors), 2), "p90_pct": round(quantile(errors, 0.9), 2),
        "pairs_right": right, "pairs": pairs, "rows_by_gpu": dict(cards),
    }  # fmt: skip


def _ordered_pairs(rows: list[Scored]) -> tuple[int, int]:
    """(pairs in the right order, pairs) of the same job on two types of card."""
    jobs: dict[tuple[Any, ...], list[Scored]] = defaultdict(list)
    for s in rows:
        key = s.same_job
        if key is not None:
            jobs[key].append(s)
    right = pairs = 0
    for same in jobs.values():
        for i, a in enumerate(same):
            for b in same[i + 1 :]:
                if a.prediction.job and b.prediction.job and a.prediction.job.gpu != b.prediction.job.gpu and a.speed != b.speed:
                    pairs += 1
                    faster = (a.speed or 0) > (b.speed or 0)
                    right += faster == ((a.prediction.tokens_per_s or 0) > (b.prediction.tokens_per_s or 0))
    return right, pairs


def _by_source(scored: list[Scored], sources: list[str]) -> dict[str, Any]:
    """The summary of each source that has rows here."""
    return {source: summary(s for s in scored if s.source == source) for source in sources if any(s.source == source for s in scored)}


def report(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Everything, as one JSON document."""
    scored = [s for s in map(score, rows) if s is not None]
    skipped = Counter(made.skipped for made in map(predict, rows) if made.skipped)
    unseen = [s for s in (score(row, seen=False) for row in rows) if s is not None]
    core, core_unseen = [s for s in scored if s.group == "core"], [s for s in unseen if s.group == "core"]
    sources = sorted({s.source for s in scored})
    return {
        "rows": len(rows), "skipped": dict(skipped.most_common()),
        "core": {"all": summary(core), **{kind: summary(s for s in core if s.kind == kind) for kind in ("LoRA", "QLoRA", "full")}},
        "core_by_source": _by_source(core, sources),
        "unseen": {"all": summary(core_unseen), **_by_source(core_unseen, sources)},
        "varying": summary(s for s in scored if s.group == "varying"),
        "several_gpus": summary(s for s in scored if s.group == "several GPUs"),
        "verdicts": {"core": verdict_summary(core), "all": verdict_summary(scored)},
        "speed": speed_summary(scored),
    }  # fmt: skip


def _line(name: str, s: dict[str, Any]) -> str:
    if not s.get("rows"):
        return f"  {name:34s} no rows with a reading"
    text = f"  {name:34s} {s['rows']:4d} rows  median {s['median_pct']:6.2f} %  90th {s['p90_pct']:6.2f} %"
    return text + (f"  bias {s['bias_pct']:+6.2f} %  inside {s['inside_share']:.3f}" if "bias_pct" in s else "")


def print_report(result: dict[str, Any]) -> None:
    """The report for a person."""
    print(f"{result['rows']} rows; skipped:")
    for reason, count in result["skipped"].items():
        print(f"  {count:4d}  {reason}")
    for title, part in (("one GPU, fixed or capped lengths", "core"), ("the same by source", "core_by_source"),
                        ("the same as if the trainer's code had not been read", "unseen")):  # fmt: skip
        print(f"\n{title}")
        for name, values in result[part].items():
            print(_line(name, values))
    print("\nreported apart")
    print(_line("varying lengths", result["varying"]))
    print(_line("several GPUs", result["several_gpus"]))
    for name in ("core", "all"):
        v = result["verdicts"][name]
        print(f"\nverdicts, {name}: {v['pairs']} (row, card) pairs, tight {v['tight_share']:.1%}, wrong fits {len(v['wrong_fits'])}")
        for wrong in v["wrong_fits"]:
            print(f"  said to fit a {wrong['gpu']}: {wrong['id']}")
        print(f"  out-of-memory rows called {v['oom_rows_called']}; rows that ran called {v['rows_that_ran_called']}")
    speed = result["speed"]
    print("\nspeed")
    print(_line("tokens a second", speed))
    print(f"  order of two cards on one job right in {speed.get('pairs_right', 0)} of {speed.get('pairs', 0)} pairs")
    print(f"  rows by card: {speed.get('rows_by_gpu')}")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 0 when the file could be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimate_accuracy", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("csv", type=Path)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true")
    how.add_argument("--predict", action="store_true")
    how.add_argument("--rows", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        rows = read_rows(chosen.csv)
    except (OSError, ValueError) as error:
        print(f"{chosen.csv} cannot be read: {error}", file=sys.stderr)
        return 2
    if chosen.predict:
        for row in rows:
            print(json.dumps(predict(row).as_json()))
    elif chosen.rows:
        for s in (s for s in map(score, rows) if s is not None and s.memory_error is not None):
            print(
                f"{s.group:12s} {s.prediction.id[:70]:70s} {s.peak:8.2f} {s.prediction.expected:8.2f} {(s.memory_error or 0) * 100:+7.1f} %"
            )
    elif chosen.json:
        print(json.dumps(report(rows), indent=1))
    else:
        print_report(report(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
