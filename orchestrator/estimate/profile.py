"""How a trainer spends memory: precision of each stream, the kind of loss, what its kernels keep. Ours is one of many.

A profile holds only what its source code or documentation says; nothing here was fitted to a measurement, except where
the comment of a field says so. Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Counter = Literal["allocated", "reserved", "process"]
Loss = Literal["full", "full-old", "half", "mean", "chunked", "chunked-full", "chunked-fp32", "chunked-compiled", "fused", "answer"]

# Bytes that the peak holds for one token and one vocabulary entry, between the last layer's forward and its backward.
# log_softmax keeps its output; its backward needs that, the incoming gradient and the outgoing one.
LOGIT_BYTES: dict[Loss, float] = {
    "full": 12.0,  # fp32 cross-entropy over all positions: three fp32 tensors in backward (traced, transformers 4.50+)
    "full-old": 12.0,  # transformers before 4.45: fp32 logits, their shifted copy and log-softmax in forward, three tensors in backward
    "half": 6.0,  # cross-entropy directly on 16-bit logits: three 16-bit tensors
    "mean": 10.0,  # no loss at all, logits.mean(): 16-bit and fp32 logits, and an fp32 gradient
    "chunked": 8.0,  # litgpt: Fabric makes the chunks' logits fp32; they and their log-softmax are kept for all chunks
    "chunked-full": 14.0,  # litgpt, full fine-tuning: one piece of logits, its shifted copy, log-softmax and gradient in fp32
    "chunked-fp32": 6.0,  # torchtune: 16-bit logits and fp32 log-softmax of all chunks
    "chunked-compiled": 2.0,  # the same compiled: only the 16-bit logits are kept
    "fused": 0.0,  # Liger, cut cross-entropy, Unsloth: a chunk at a time, nothing kept
    "answer": 12.0,  # ours: as "full", but only at the positions that carry loss
}


@dataclass(frozen=True, kw_only=True)
class TrainerProfile:
    """One trainer. Bytes are per element."""

    name: str
    known: bool = True  # False: a guess about a trainer whose code was not read; widens the band
    loss: Loss = "full"
    logits_retained: bool = False  # the loop holds the model's outputs through backward
    base_bytes: int = 2  # unquantized weights that stay frozen, or all weights in full fine-tuning
    adapter_bytes: int = 4  # LoRA weights, their gradients and the gradients' arithmetic
    autocast: bool = True  # matrix products cast their inputs to 16 bit themselves
    kbit_preparation: bool = False  # peft.prepare_model_for_kbit_training: norms, embeddings, head in fp32, residual too
    fused_attention: bool = True  # scores are never stored
    flash_for_all: bool = False  # even where transformers has no fused kernel for the architecture
    score_bytes: int = 6  # a stored score: fp32 softmax and its 16-bit copy
    repeats_kv: bool = False  # keys and values are always copied to every query head (before torch 2.5, or a mask always)
    masks_padding: bool = False  # they are when a batch has padding, which needs a mask: more than one row
    fused_norms: bool = False  # norms keep their 16-bit input and no fp32 copy (compiled, Liger, Apex)
    fused_activation: bool = False  # gelu is one kernel even where transformers writes its formula out
    fuses_qkv: bool = False  # one module makes queries, keys and values, and its product stays alive
    unties_head: bool = False  # lm_head is a tensor of its own even when the config ties it
    keeps_linear_inputs: bool = False  # bitsandbytes before 0.43.2: 4-bit products keep their input, even under checkpointing
    keeps_last_graph: bool = False  # the loop's variables hold the previous step's graph, and with it those inputs, once more
    quantizes_head: bool = False  # lm_head is quantized like the rest (Lightning's bitsandbytes plugin)
    quantizing_bytes: float = 0.0  # what an element of a matrix takes while it is quantized on the card; 0: in small pieces
    two_int8_layouts: bool = False  # bitsandbytes before 0.45 could hold a second layout of int8 weights: in the high estimate
    quantizes_experts: bool = False  # one nn.Linear an expert (transformers 4): bitsandbytes reaches them
    embedding_state_32bit: bool = True  # transformers' Trainer exempts nn.Embedding from 8-bit optimizer state
    foreach: bool = True  # AdamW works on all tensors at once and holds one more buffer of their size
    overlapped_optimizer: bool = False  # the optimizer steps inside backward: gradients live one layer at a time
    compiled: bool = False  # torch.compile fuses the gated activation: its product is recomputed, one tensor less
    counter: Counter = "process"


OURS_BF16 = TrainerProfile(name="cloudtune bf16", loss="answer", masks_padding=True)
OURS_FP16 = replace(OURS_BF16, name="cloudtune fp16")

HF_TRAINER = TrainerProfile(name="transformers Trainer")
TRL_KBIT = TrainerProfile(name="TRL after kbit preparation", kbit_preparation=True)
UNKNOWN = TrainerProfile(name="unknown trainer", known=False, repeats_kv=True)

LITGPT = TrainerProfile(
    name="litgpt",
    loss="chunked",
    adapter_bytes=2,
    autocast=False,
    repeats_kv=True,
    fused_activation=True,
    fuses_qkv=True,
    unties_head=True,
    embedding_state_32bit=False,
    counter="allocated",
)
PEFT_BENCH = TrainerProfile(
    name="PEFT method comparison", loss="full", logits_retained=True, autocast=False, repeats_kv=True, counter="reserved",
)  # fmt: skip
TORCHTUNE = TrainerProfile(
    name="torchtune", loss="full", adapter_bytes=2, autocast=False, repeats_kv=True, foreach=False,
    embedding_state_32bit=False, counter="allocated",
)  # fmt: skip
PLAIN_LOOP = TrainerProfile(
    name="plain loop over transformers", loss="half", autocast=False, repeats_kv=True, embedding_state_32bit=False, counter="reserved",
)  # fmt: skip
UNSLOTH = TrainerProfile(  # its LoRA_MLP keeps both halves and recomputes the activation, as compiled code does
    name="Unsloth", loss="fused", fused_norms=True, compiled=True, counter="reserved"
)


def ours(compute_capability: float) -> TrainerProfile:
    """Our own trainer on a card of this compute capability: bf16 from 8.0 on, fp16 autocast with fp32 LoRA below."""
    return OURS_BF16 if compute_capability >= 8.0 else OURS_FP16
