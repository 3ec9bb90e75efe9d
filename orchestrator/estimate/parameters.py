"""Bytes of weights, adapters, gradients and optimizer state: what does not depend on the batch.

Sources: bitsandbytes' ``functional.py`` (blocks of 64, one fp32 absmax each; double quantization makes the absmax 8 bit
in blocks of 256), ``optim`` (8-bit state in blocks of 256; tensors under 4096 elements stay 32 bit; a paged optimizer keeps tensors of 1e5
elements and more in managed memory), transformers' ``Trainer.create_optimizer`` (a trained ``nn.Embedding`` keeps 32-bit
state under an 8-bit optimizer), torch's ``_multi_tensor_adamw`` (one more buffer).
Must not import anything outside the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .workload import Workload

_BLOCK_NF4, _BLOCK_DOUBLE, _BLOCK_ADAM = 64, 256, 256
_SMALLEST_8BIT, _SMALLEST_PAGED = 4096, 100_000


@dataclass(frozen=True, kw_only=True)
class StaticBytes:
    """Bytes of one whole copy of the job's parameters, before any sharding."""

    weights: float
    quant_constants: float
    unquantized: float
    lora: float
    gradients: float
    optimizer: float
    optimizer_temporary: float  # during the step only
    cast_weights: float  # 16-bit copies of fp32 trained weights, which autocast makes and backward reads

    @property
    def resident(self) -> float:
        """What is there from the first optimizer step on, gradients apart."""
        return self.weights + self.quant_constants + self.unquantized + self.lora + self.optimizer


def trained_tensors(w: Workload) -> Iterator[tuple[int, int]]:
    """(elements, how many such tensors) of what the optimizer steps."""
    shape = w.shape
    if w.method == "full":
        for m in shape.matrices:
            yield m.largest * (1 if m.linear else m.copies), m.layers * (m.copies if m.linear else 1)
        yield shape.embedding_params, 1
        if shape.head_params:
            yield shape.head_params, 1
        yield shape.hidden, max(1, (shape.norm_params + shape.bias_params) // shape.hidden)
        return
    for m in w.targeted:
        yield w.lora_r * m.inputs, m.layers * m.copies
        yield w.lora_r * m.outputs, m.layers * m.copies
    if w.lora_head:
        yield w.lora_r * shape.hidden, 1
        yield w.lora_r * shape.vocab, 1
    if w.trains_embeddings:
        yield shape.vocab * shape.hidden, 2
    if w.task in ("classification", "reward"):
        yield shape.hidden * (w.labels if w.task == "classification" else 1), 1


def _trained_embeddings(w: Workload) -> tuple[int, int]:
    """(elements, how many) of the ``nn.Embedding`` tensors that the optimizer steps; PEFT's copy of one counts."""
    if w.method == "full":
        return w.shape.embedding_params, 1
    return w.shape.vocab * w.shape.hidden, 1 if w.trains_embeddings else 0


def trained_parameters(w: Workload) -> int:
    """Trainable parameters, as ``print_trainable_parameters`` says."""
    return sum(size * count for size, count in trained_tensors(w))


def _state_bytes(w: Workload, size: int, bytes_each: int) -> float:
    """Optimizer state on the card for one tensor."""
    name = w.optimizer
    if name in ("none", "sgd"):
        return 0.0
    if name.startswith("paged") and size >= _SMALLEST_PAGED:
        return 0.0  # in managed memory: moves to the host when the card is full
    if name.endswith("8bit") and size >= _SMALLEST_8BIT:
        return size * (2 + 2 * 4 / _BLOCK_ADAM)
    return 2.0 * size * (4 if name.endswith(("8bit", "32bit")) else bytes_each)


def _frozen(w: Workload) -> tuple[float, float, float]:
    """(weights, quantization constants, unquantized) of the base model in bytes."""
    shape, p = w.shape, w.profile
    head = 0 if w.task in ("classification", "reward") else shape.head_params
    rest = shape.embedding_params + head + shape.norm_params + shape.bias_params + shape.other_params
    quantized = sum(m.elements for m in shape.matrices if m.linear or p.quantizes_experts)
    left = shape.linear_params - quantized
    if p.quantizes_head:
        quantized, left = quantized + head, left - head
    base = p.base_bytes
    if not w.quantized:
        return float((shape.linear_params + rest) * base), 0.0, 0.0
    unquantized = float((rest + left) * (4 if p.kbit_preparation else base))
    if w.quantization == "int8":
        rows = sum(m.outputs * m.layers * m.copies for m in shape.matrices)
        return float(quantized), 4.0 * rows, unquantized
    constants = quantized / _BLOCK_NF4 * (1 + 4 / _BLOCK_DOUBLE if w.quantization == "nf4-double" else 4)
    return quantized / 2, constants, unquantized


def static_bytes(w: Workload) -> StaticBytes:
    """All of it, for one whole copy."""
    p = w.profile
    weights, constants, unquantized = _frozen(w)
    each = p.base_bytes if w.method == "full" else p.adapter_bytes
    trained = trained_parameters(w)
    temporary = trained * each if p.foreach and w.optimizer == "adamw" else 0.0
    optimizer = sum(_state_bytes(w, size, each) * count for size, count in trained_tensors(w))
    if w.optimizer == "adamw_8bit" and p.embedding_state_32bit:
        size, count = _trained_embeddings(w)
        optimizer += (8.0 * size - _state_bytes(w, size, each)) * count
    gradients = float(trained * each)
    if p.overlapped_optimizer:  # one layer's gradients, or the largest tensor's
        largest = max(size for size, _ in trained_tensors(w))
        gradients, temporary = each * max(trained / w.shape.layers, float(largest)), 0.0
    fp32_trained = each == 4 and p.autocast
    cast = 2.0 * trained if fp32_trained and (w.method == "full" or w.checkpointing == "none") else 0.0
    return StaticBytes(
        weights=weights, quant_constants=constants, unquantized=unquantized, lora=0.0 if w.method == "full" else float(trained * each),
        gradients=gradients, optimizer=optimizer, optimizer_temporary=temporary, cast_weights=cast,
    )  # fmt: skip
