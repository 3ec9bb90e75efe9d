"""Tokens a second on a card, from operations, bytes moved, dequantization and launches: pure arithmetic, with a band.

A micro-step takes as long as its matrix products at the rate the card reaches, plus the bytes that everything else
moves at the card's bandwidth, but never less than its kernels take to launch. The optimizer's step is shared by the
accumulated micro-steps. Sources: 2 operations a weight and token forward, 2 more for the input's gradient, 2 for the
weight's (trained weights only), the forward again under checkpointing (Chowdhery et al. 2022, appendix B; Korthikanti
et al. 2022 for recomputation).

Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import activations as act
from .gpus import Gpu
from .parameters import StaticBytes, static_bytes, trained_parameters
from .workload import Workload

_BANDWIDTH_REACHED = 0.80  # of the data sheet's, by kernels that only move memory
_MOVES_PER_KEPT_BYTE = 4.0  # eager PyTorch reads and writes each kept tensor about this often, forward; twice that backward
_LAUNCH_S = 6e-6  # one kernel from Python
_KERNELS = 45  # a layer's kernels forward, without LoRA
_KERNELS_LORA = 5  # a LoRA module's
_KERNELS_QUANTIZED = 3  # a 4-bit product's
_DEQUANT_BYTES = 4.6  # a weight: half a byte and its absmax read, two written, two read again by the product
_DEQUANT_REACHED = 0.55  # of the bandwidth
_OPTIMIZER_BYTES = 23  # times a trained element's size: eight passes of foreach AdamW over weight, gradient and states, and clipping
# FlashAttention-2 (Dao 2023): at most 73 % of an A100's peak forward and 63 % backward, and 335 TFLOP/s on an H100, whose own
# instructions it does not use; 0.6 of peak, where an A100's large products reach 0.8.
_ATTENTION = 0.75  # of the rate that large products reach
_ATTENTION_MOST = 335e12
_FP32_REACHED = 0.9  # of the data sheet's, by large fp32 products
_FP32_ATTENTION_REACHED = 0.33  # the fp32 kernel is of FlashAttention's first generation: 25 to 40 % of peak (same paper)
_MULTI_GPU = 0.95  # of linear scaling, several cards in one machine, communication apart


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens a second over all GPUs: low, expected, high; and where an expected micro-step's time goes, in seconds."""

    low: float
    expected: float
    high: float
    seconds: dict[str, float]

    def hours(self, tokens: int) -> dict[str, float]:
        """Hours of training for this many tokens: low from the high speed, and the other way round."""
        return {"low": tokens / self.high / 3600, "expected": tokens / self.expected / 3600, "high": tokens / self.low / 3600}


def _passes(w: Workload) -> tuple[float, float]:
    """(passes over the frozen or trained weights, forward passes run) in units of 2 operations a weight and token."""
    forward = 2.0 if w.checkpointing != "none" else 1.0
    return forward + 1.0 + (1.0 if w.method == "full" else 0.0), forward


def operations(w: Workload, tokens: int, length: int) -> dict[str, float]:
    """Floating-point operations of one micro-step on one GPU: of the weights, the head, the adapters, and attention's scores."""
    shape = w.shape
    passes, forward = _passes(w)
    head = shape.vocab * shape.hidden if w.task in ("sft", "dpo") else 0
    head_passes = 3.0 if w.method == "full" or w.trains_embeddings else 2.0
    window = min(length, shape.sliding_window or length)
    return {
        "weights": 2.0 * tokens * shape.active_params * passes,
        "head": 2.0 * tokens * head * head_passes,
        "lora": 0.0 if w.method == "full" else 2.0 * tokens * trained_parameters(w) * (forward + 2.0),
        "attention": 2.0 * tokens * window * shape.q_width * shape.layers * (forward + 2.5),  # causal: half the scores
    }


def _product_seconds(w: Workload, gpu: Gpu, tokens: int, length: int) -> float:
    """Seconds of all products: on tensor cores, or in fp32 on the card's FP32 units.

    kbit preparation makes norms, embeddings and head fp32, so without autocast the residual, the adapters, the head and
    attention are fp32 too; the 4-bit products alone cast to 16 bit (bitsandbytes' Linear4bit). TF32 is off by default.
    """
    tensor, plain = gpu.tflops * 1e12 * gpu.reached, gpu.tflops_fp32 * 1e12
    fp32 = not w.profile.autocast and (w.profile.base_bytes == 4 or (w.profile.kbit_preparation and w.quantized))
    weights_fp32 = fp32 and not w.quantized
    work = operations(w, tokens, length)
    rest = work["head"] + work["lora"]
    seconds = work["weights"] / (plain * _FP32_REACHED if weights_fp32 else tensor) + rest / (plain * _FP32_REACHED if fp32 else tensor)
    return seconds + work["attention"] / (plain * _FP32_ATTENTION_REACHED if fp32 else min(tensor * _ATTENTION, _ATTENTION_MOST))


def _moved(w: Workload, tokens: int, length: int) -> float:
    """Bytes that one micro-step's element-wise kernels move."""
    _, forward = _passes(w)
    at_length = replace(w, max_length=length)
    kept = sum(act.layer_tensors(at_length).values()) * w.shape.layers * tokens
    fused = 0.5 if w.profile.compiled or w.profile.fused_norms else 1.0
    logits = 0.0 if w.task in ("classification", "reward") else 30.0 * w.shape.vocab * tokens * (0.4 if w.profile.loss == "fused" else 1.0)
    return _MOVES_PER_KEPT_BYTE * kept * (forward + 2.0) * fused + logits


def _launches(w: Workload) -> float:
    """Kernels launched in one micro-step."""
    shape = w.shape
    passes, forward = _passes(w)
    modules = sum(m.layers for m in w.targeted) if w.method == "lora" else 0
    quantized = sum(m.layers for m in shape.matrices if m.linear) if w.quantized else 0
    fused = 0.5 if w.profile.compiled else 1.0
    forward_kernels = shape.layers * _KERNELS * fused + modules * _KERNELS_LORA
    return forward_kernels * (forward + 2.0) + quantized * _KERNELS_QUANTIZED * passes


def step_seconds(w: Workload, gpu: Gpu, tokens: int, length: int) -> dict[str, float]:
    """Seconds of one micro-step of ``tokens`` tokens in rows of ``length``, by what they go into."""
    passes, _ = _passes(w)
    bandwidth = gpu.bandwidth * 1e9 * _BANDWIDTH_REACHED
    static = static_bytes(w)
    read = (static.weights + static.unquantized) * passes / bandwidth  # a small batch waits for the weights
    products = max(_product_seconds(w, gpu, tokens, length), read)
    moved = _moved(w, tokens, length) / bandwidth
    dequantized = 0.0
    if w.quantized:
        weights = sum(m.elements for m in w.shape.matrices if m.linear)
        dequantized = weights * _DEQUANT_BYTES * passes / (gpu.bandwidth * 1e9 * _DEQUANT_REACHED)
    busy = products + moved + dequantized
    waiting = max(0.0, _launches(w) * _LAUNCH_S - busy)
    each = w.profile.base_bytes if w.method == "full" else w.profile.adapter_bytes
    optimizer = trained_parameters(w) * _OPTIMIZER_BYTES * each / bandwidth / w.accumulation / (w.n_gpus if w.parallel == "fsdp" else 1)
    parts = {"products": products, "moved": moved, "dequantized": dequantized, "launches": waiting, "optimizer": optimizer}
    if w.n_gpus > 1:
        # the next layer is gathered while this one computes (FSDP: Zhao et al. 2023, 3.3): what computing does not hide, and one layer
        gathered = _communicated(w, static) / (gpu.link * 1e9)
        parts["communication"] = max(gathered - busy, gathered / w.shape.layers)
    return parts


def _communicated(w: Workload, static: StaticBytes) -> float:
    """Bytes that one GPU receives in a micro-step: weights gathered, gradients reduced."""
    others = (w.n_gpus - 1) / w.n_gpus
    if w.parallel == "ddp":
        return 2 * others * static.gradients / w.accumulation
    forward = 2 if w.checkpointing != "none" else 1
    return others * ((static.weights + static.quant_constants + static.unquantized) * (forward + 1) + 2 * static.gradients)


_MEASURED = frozenset({8.0, 8.9, 9.0, 12.0, 8.6})  # capabilities with published rows that took part


def estimate_speed(w: Workload, gpu: Gpu, *, mean_length: int | None = None, padding: float = 0.0) -> Speed:
    """Real tokens a second over all GPUs, for rows of ``mean_length`` real tokens of which batches add ``padding`` (a share).

    The band is 30 % either way where readings of the card's generation took part in checking this model, 45 % where
    hardly any exist (T4, V100): repeats of one setting on one type of card differ by 13 % at the median.
    """
    length = mean_length or w.max_length
    padded = max(1, round(length * (1 + padding)))
    tokens = w.micro_batch * padded
    parts = step_seconds(w, gpu, tokens, padded)
    scaling = 1.0 if w.n_gpus == 1 else w.n_gpus * _MULTI_GPU
    expected = w.micro_batch * length / sum(parts.values()) * scaling
    band = 0.30 if gpu.compute_capability in _MEASURED and gpu.name not in ("L4", "A10G") else 0.45
    return Speed(low=expected * (1 - band), expected=expected, high=expected / (1 - band), seconds=parts)
