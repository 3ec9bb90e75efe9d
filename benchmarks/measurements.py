"""Reads rows of published measurements into workloads, without looking at what was measured.

The columns in :data:`OUTCOME_COLUMNS` are never read for a prediction: other rows come with them blank. What a row does
not say is filled from the source code of its trainer where that is known (:mod:`benchmarks.trainers`), else the row is
skipped with the reason.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.trainers import Trainer, trainer_of
from orchestrator.estimate.gpus import Gpu, find_gpu
from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.problems import EstimateProblem
from orchestrator.estimate.profile import Counter
from orchestrator.estimate.shape import ModelShape
from orchestrator.estimate.workload import Checkpointing, Method, Quantization, Workload

Row = Mapping[str, str]
OUTCOME_COLUMNS = frozenset({"peak_mem_gib", "mem_reported", "tokens_per_s", "step_time_s", "total_time", "outcome", "notes"})
COLUMNS = OUTCOME_COLUMNS | {
    "id", "source", "model", "method", "quant", "double_quant", "lora_r", "target_modules", "seq_len", "per_device_batch", "grad_accum",
    "grad_ckpt", "optimizer", "attn", "compute_dtype", "weights_dtype", "framework", "fused_loss", "gpu", "n_gpus", "mem_kind",
}  # fmt: skip
GIB = 1024**3


class SkipRow(Exception):
    """The row cannot be predicted; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Token counts of a row's batches."""

    longest: int
    kind: str  # fixed: every batch has it; capped: the longest batch has it; varying: only a limit is known
    typical: int  # of an average row, for speed


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one row asks."""

    workload: Workload
    unit_bytes: float  # bytes in one unit of the row's reading
    lengths: Lengths
    trainer: Trainer
    gpu: Gpu | None
    group: str  # core | varying | several GPUs


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file in the format of benchmarks/data/measurements.csv. ValueError when a column is missing."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(handle)]
    missing = sorted(COLUMNS - set(rows[0])) if rows else []
    if missing:
        raise ValueError(f"columns are missing: {', '.join(missing)}")
    return rows


_EXACT = re.compile(r"^(?:exactly |packed to |packed |sample_packing to )?(\d+)(?: (?:exactly|full|packed)\b| \(full context\))?|^(\d+)$")
_LONGEST = re.compile(r"longest sample (\d+) tok")
_CAP = re.compile(r"(?:max_seq_length|max_seq_len|max_length|max length|truncated at|max)[ =]*(?:max_length=)?(\d+)")


def parse_lengths(text: str) -> Lengths:
    """The ``seq_len`` column. Raises :class:`SkipRow` when it states no length."""
    lower = text.lower().strip().removeprefix("dummy data, ")
    if lower.startswith("max padded length that fits"):
        raise SkipRow("a limit that the authors extrapolated, not a measurement of one run")
    if match := _LONGEST.search(lower):
        longest = int(match[1])
        return Lengths(longest=longest, kind="fixed", typical=longest // 5)
    if match := re.search(r"\(=(\d+)\)", lower):
        kind = "varying" if "dynamic pad" in lower else "capped"
        return Lengths(longest=int(match[1]), kind=kind, typical=int(match[1]) // 4)
    if lower.startswith("max ") and "not packed" in lower:
        return Lengths(longest=_cap(lower), kind="varying", typical=_typical(lower, _cap(lower)))
    if match := _EXACT.match(lower):
        length = int(match[1] or match[2])
        return Lengths(longest=length, kind="fixed", typical=length)
    longest = _cap(lower)
    if "metamathqa" in lower:  # its loader drops texts of over 1,300 characters: at two characters a token (mathematics) 650 tokens
        longest = min(longest, 650)
    varying = any(word in lower for word in ("dataset-dependent", "dataset tokens", "not stated", "short q/a"))
    if "packing=true" in lower:
        return Lengths(longest=longest, kind="fixed", typical=longest)
    return Lengths(longest=longest, kind="varying" if varying else "capped", typical=min(longest, _typical(lower, longest)))


def _cap(lower: str) -> int:
    match = _CAP.search(lower)
    if match is None:
        raise SkipRow("no length is stated")
    return int(match[1])


def _typical(lower: str, longest: int) -> int:
    """Mean tokens of a row where the text says so, else the cap."""
    if match := re.search(r"avg (\d+) tok/step over batch of (\d+)", lower):
        return int(match[1]) // int(match[2])
    if "alpaca" in lower:
        return min(longest, 120)  # the Alpaca set's mean with its prompt
    return longest


def parse_method(row: Row) -> tuple[Method, bool]:
    """(lora or full, DoRA or not) from the ``method`` column; other adapters are skipped."""
    method = row["method"].lower()
    if method.startswith("full"):
        return "full", False
    if method.startswith(("lora", "qlora")):
        return "lora", "dora" in method
    raise SkipRow(f"{row['method']} is an adapter other than LoRA")


def parse_quantization(row: Row) -> Quantization:
    """The ``quant`` and ``double_quant`` columns."""
    quant = row["quant"].lower()
    double = row["double_quant"].lower()
    if "gptq" in quant:
        raise SkipRow("GPTQ's kernels and layout are not modelled")
    if "int8" in quant and "int4" not in quant:
        return "int8"
    if any(word in quant for word in ("nf4", "fp4", "4bit", "4-bit", "int4")):
        yes = "yes" in double or "true" in double or ("unsloth" in (quant + row["framework"].lower()) and not double.startswith("no"))
        return "nf4-double" if yes else "nf4"
    if row["method"].lower().startswith("qlora"):
        raise SkipRow("a QLoRA run that does not state its quantization")
    return "none"


def parse_targets(row: Row, shape: ModelShape) -> tuple[str, ...]:
    """The ``target_modules`` column as module names or roles."""
    text = row["target_modules"].lower().split("(")[0] + row["target_modules"].lower()
    if any(word in text for word in ("all-linear", "all linear", "finetune_flags", "*_proj")) or text.strip() in ("all", ""):
        return ("all-linear",)
    if "default" in text:
        return ("default", "q", "v", "qkv") if shape.fused_qkv else ("q", "v")
    names = set(re.findall(r"[a-z_]+", row["target_modules"].lower().split("(")[0]))
    roles = {"q": "q", "k": "k", "v": "v", "o": "o", "gate": "gate", "up": "up", "down": "down"}
    wanted: set[str] = set()
    for name in names:
        base = name.removesuffix("_proj")
        if base in roles:
            wanted.add(roles[base])
        elif base == "mlp":
            wanted |= {"gate", "up", "down", "gate_up"}
        elif base in ("qkv", "gate_up"):
            wanted.add(base)
    if wanted & {"q", "k", "v"}:
        wanted.add("qkv")
    if wanted & {"gate", "up"}:
        wanted.add("gate_up")
    if not wanted:
        raise SkipRow(f"target modules {row['target_modules']!r} are not linear matrices of a layer")
    return tuple(sorted(wanted))


def parse_checkpointing(row: Row, trainer: Trainer, quantized: bool) -> Checkpointing:
    """The ``grad_ckpt`` column."""
    text = row["grad_ckpt"].lower()
    if "slope implies off" in text:  # not stated; kbit preparation turns it on by itself, plain LoRA scripts do not
        return "layer" if quantized else "none"
    if "offload" in text or "unsloth" in text:
        return "offloaded"
    if text.startswith("true"):
        return "layer"
    if text.startswith("false"):
        return "none"
    if trainer.default_checkpointing is not None:
        return trainer.default_checkpointing
    raise SkipRow("checkpointing is not stated")


def parse_optimizer(row: Row, trainer: Trainer) -> str:
    """The ``optimizer`` column as a name the estimate knows."""
    text = row["optimizer"].lower()
    if not text.strip():
        return trainer.default_optimizer
    if text.startswith("none"):
        return "none"
    paged = "paged" in text
    if "8bit" in text or "8-bit" in text:
        return "paged_adamw_8bit" if paged else "adamw_8bit"
    if paged:
        return "paged_adamw_32bit"
    return "adamw_fused" if "fused" in text else "adamw"


def parse_unit(row: Row) -> tuple[float, Counter]:
    """(bytes in a unit, counter) from ``mem_kind``, which says what was read and how it was converted."""
    kind = row["mem_kind"].lower()
    if "after forward" in kind:
        raise SkipRow("memory after forward and after backward, not a peak")
    if "not a memory reading" in kind:
        raise SkipRow("a limit that the authors extrapolated, not a measurement of one run")
    # Rows whose code divides by 1e9 and whose reading was copied as printed.
    printed_1e9 = "may really be gb" in kind or "not converted" in kind or "gb as reported" in kind or '(g)"' in kind
    counter: Counter = "process"
    if "allocated" in kind:
        counter = "allocated"
    elif "reserved" in kind and "active/reserved" not in kind:  # torchtune logs active memory; its table does not say which
        counter = "reserved"
    elif "active" in kind:
        counter = "allocated"
    return (1e9 if printed_1e9 else float(GIB)), counter


def _number(text: str, what: str) -> int:
    match = re.match(r"\s*(\d+)", text)
    if match is None:
        raise SkipRow(f"{what} is not stated")
    return int(match[1])


def gpu_of(row: Row) -> Gpu | None:
    """The row's card, or None when it is not stated well enough to know its speed."""
    name = row["gpu"]
    if re.match(r"(?i)a100\b", name) and "80gb" in name.lower():
        name = "A100-80GB"
    try:
        return find_gpu(name.split(" (")[0] if "not stated" not in name else "")
    except EstimateProblem:
        return None


def model_of(row: Row) -> ModelShape:
    """The row's model, from the bundled table or from a config spelled out in the row."""
    name = row["model"].strip()
    if "h=2048" in name and "ffn=4096" in name:
        config = {"h": 2048, "L": 24, "heads": 16, "ffn": 4096, "vocab": 32000}
        shape = bundled_shape("llama-2-7b")
        return _resized(shape, config)
    clean = re.sub(r"\s*\(.*\)$", "", name)
    for candidate in (name, clean):
        try:
            return bundled_shape(candidate)
        except EstimateProblem:
            continue
    raise SkipRow(f"the shape of {name!r} is not in the bundled table")


def _resized(like: ModelShape, c: Mapping[str, int]) -> ModelShape:
    from orchestrator.estimate.model_shapes import shape_from_config

    return shape_from_config(
        {"model_type": like.architecture, "hidden_size": c["h"], "num_hidden_layers": c["L"], "num_attention_heads": c["heads"],
         "intermediate_size": c["ffn"], "vocab_size": c["vocab"], "max_position_embeddings": 16384, "tie_word_embeddings": False},
        "custom Llama",
    )  # fmt: skip


def parse_row(row: Row, *, seen: bool = True) -> Job:
    """The workload of one row. Raises :class:`SkipRow` with the reason when it cannot be predicted.

    ``seen=False`` leaves out what is known of the row's trainer.
    """
    method, dora = parse_method(row)
    unit, counter = parse_unit(row)
    shape = model_of(row)
    quantization = parse_quantization(row)
    trainer = trainer_of(row, shape, quantization, seen=seen)
    lengths = parse_lengths(row["seq_len"])
    micro_batch = _number(row["per_device_batch"], "the batch size")
    n_gpus = _number(row["n_gpus"] or "1", "the number of GPUs")
    profile = replace(trainer.profile, counter=counter if row["mem_kind"].strip() else "process")
    if profile.unties_head:
        shape = shape.untied()
    targets = parse_targets(row, shape) if method == "lora" else ("all-linear",)
    workload = Workload(
        shape=replace(shape, positions=None),  # published runs do go beyond the stated positions
        method=method,
        quantization=quantization if method == "lora" else "none",
        lora_r=_number(row["lora_r"] or str(trainer.default_rank), "the rank"),
        lora_targets=targets,
        lora_dropout=trainer.dropout,
        lora_dora=dora,
        lora_head="lm_head" in row["target_modules"] and profile.unties_head,
        trains_embeddings="embed_tokens" in row["method"],
        micro_batch=micro_batch,
        max_length=lengths.longest,
        varying_lengths=lengths.kind == "varying",
        accumulation=_number(row["grad_accum"] or "1", "accumulation"),
        checkpointing=parse_checkpointing(row, trainer, quantization != "none"),
        optimizer=parse_optimizer(row, trainer),
        n_gpus=n_gpus,
        parallel="ddp" if "ddp" in row["framework"].lower() or n_gpus == 1 else "fsdp",
        cpu_offload="cpu_offload=true" in row["framework"].lower(),
        profile=profile,
    )
    group = "several GPUs" if n_gpus > 1 else "varying" if lengths.kind == "varying" else "core"
    return Job(workload=workload, unit_bytes=unit, lengths=lengths, trainer=trainer, gpu=gpu_of(row), group=group)
