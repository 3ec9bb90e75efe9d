"""The estimate as the JSON document that other programs rely on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .duration import estimate_speed
from .gpus import Gpu, all_gpus, verdict
from .ladder import ladder
from .memory import COMPONENTS, GIB, estimate_memory
from .profile import OURS_BF16, OURS_FP16, ours
from .workload import Workload


def on_card(w: Workload, gpu: Gpu) -> Workload:
    """The workload as it would run there: our own trainer chooses its precision by the card."""
    if w.profile.name not in (OURS_BF16.name, OURS_FP16.name):
        return w
    return replace(w, profile=ours(gpu.compute_capability))


def notes(w: Workload) -> list[str]:
    """What a person should know about this estimate in particular, a sentence each."""
    said = []
    stacked = sum(m.elements for m in w.shape.matrices if not m.linear and m.role != "router")
    if stacked and w.quantized and not w.profile.quantizes_experts:
        said.append(
            f"{w.shape.name} is a mixture of experts: its experts ({stacked / 1e9:.1f} billion weights) are stacked parameters, which "
            "bitsandbytes does not quantize and all-linear does not adapt; they are counted in 16 bit"
        )
    if w.quantization == "int8":
        said.append(
            "8-bit products keep their inputs, which checkpointing does not free: nf4-double needs less; "
            "published int8 runs were often further off than the band says"
        )
    if w.varying_lengths:
        said.append(
            "rows differ in length: this is the peak of the longest batch; reserved memory will read higher and is given back when needed"
        )
    if not (w.profile.fused_attention and w.shape.fused_attention):
        said.append("attention scores are stored for this architecture: memory grows with the square of the length")
    return said


def _round(value: float) -> float:
    return round(value, 3)


def estimate_document(
    w: Workload, *, tokens: int | None = None, mean_length: int | None = None, padding: float = 0.0, gpus: tuple[Gpu, ...] | None = None
) -> dict[str, Any]:
    """The document: peak and components in GiB, a verdict a card, the ladder, and hours when the token count is known.

    ``tokens`` are all real tokens of the training, epochs included; ``padding``: tokens that batches add to a real one. Speeds
    of the ladder are factors on a card of the A100's kind; hours are left out for cards that the job does not fit.
    """
    cards = all_gpus() if gpus is None else gpus
    estimate = estimate_memory(w)
    reference = next((gpu for gpu in all_gpus() if gpu.name == "A100-40GB"), cards[0])
    verdicts = {gpu.name: verdict(estimate_memory(on_card(w, gpu)), gpu) for gpu in cards}
    hours = {}
    if tokens is not None:
        for gpu in cards:
            if verdicts[gpu.name] != "oom":
                speed = estimate_speed(on_card(w, gpu), gpu, mean_length=mean_length, padding=padding)
                hours[gpu.name] = {name: _round(value) for name, value in speed.hours(tokens).items()}
    return {
        "model": w.shape.name,
        "peak_gib": {name: _round(value) for name, value in estimate.peak_gib.items()},
        "components_gib": {name: _round(estimate.components[name] / GIB) for name in COMPONENTS},
        "moment": estimate.moment,
        "gpus": [{"gpu": gpu.name, "usable_gib": gpu.usable_gib, "verdict": verdicts[gpu.name]} for gpu in cards],
        "ladder": [
            {"change": r.change.text, "peak_gib": _round(r.estimate.expected / GIB), "saves_gib": _round(r.saved / GIB),
             "quality": r.change.quality, "speed": None if r.speed is None else _round(r.speed)}
            for r in ladder(w, reference)
        ],
        "notes": notes(w),
        "tokens": tokens,
        "hours": hours,
    }  # fmt: skip
