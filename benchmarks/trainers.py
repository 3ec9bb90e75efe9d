"""Which trainer a row comes from, and what that trainer's own source code says that the row does not.

Each entry names what was read. Nothing here was chosen to fit a reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.estimate import profile as p
from orchestrator.estimate.shape import ModelShape
from orchestrator.estimate.workload import Checkpointing, Quantization


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer's profile and its defaults."""

    family: str
    profile: p.TrainerProfile
    dropout: float = 0.0
    default_checkpointing: Checkpointing | None = None
    default_optimizer: str = "adamw"
    default_rank: int = 8
    speed_per_gpu: bool = False  # its tokens a second are of one GPU, not of all
    padding: float = 0.0  # share of padding that its batches add to real tokens
    pace: float = 1.0  # of the modelled speed, where its own rows say that its loop costs more than its kernels


def trainer_of(row: Mapping[str, str], shape: ModelShape, quantization: Quantization, *, seen: bool = True) -> Trainer:
    """The trainer of a row, by its ``framework`` and ``source`` columns; an unread one gets the widest band.

    ``seen=False`` answers as if no trainer's code had been read: from what the row itself says.
    """
    if not seen:
        return _unseen(row, shape, quantization in ("nf4", "nf4-double"))
    framework = row["framework"].lower()
    source = row["source"].lower()
    four_bit = quantization in ("nf4", "nf4-double")
    if "litgpt" in framework or "lit-gpt" in framework:
        return _litgpt(row, shape, four_bit)
    if "method_comparison" in framework:
        return Trainer(family="peft", profile=p.PEFT_BENCH, padding=0.10)  # batches of 4 from 80 sorted by length
    if "torchtune" in framework:
        return _torchtune(row)
    if "custom trainer" in framework and "universal-llm-trainer" in source:
        return _universal(shape, four_bit)
    if "bare loop" in framework:
        return _bare_loop(four_bit)
    if "fsdp_qlora" in framework:
        return Trainer(family="fsdp_qlora", profile=_fsdp_qlora(four_bit))
    if "unsloth" in framework:
        return Trainer(family="unsloth", profile=replace(p.UNSLOTH), default_checkpointing="offloaded", default_rank=16)
    if "vertex" in framework:
        return _vertex(four_bit)
    if "ms-swift" in framework:
        return Trainer(family="swift", profile=_old_hf("ms-swift", four_bit, row), dropout=0.05)
    if "llama-factory" in framework:
        return _llama_factory(row)
    if "axolotl" in framework:
        return _axolotl(row)
    return _transformers(row, framework, shape, four_bit)


def _litgpt(row: Mapping[str, str], shape: ModelShape, four_bit: bool) -> Trainer:
    """litgpt: lora.py, model.py, utils.py, and its pin of bitsandbytes 0.41 or 0.42, which keeps the products' inputs."""
    full = row["method"].lower().startswith("full")
    alike = "longest sample" not in row["seq_len"].lower()  # else the longest batch comes once, and the one before is short
    profile = replace(
        p.LITGPT, keeps_linear_inputs=four_bit, keeps_last_graph=four_bit and alike, quantizes_head=four_bit,
        loss="chunked-full" if full else "chunked",
    )  # fmt: skip
    if shape.softcap:  # its own attention: tanh's output, fp32 softmax and the 16-bit copy are kept
        profile = replace(profile, fused_attention=False, score_bytes=8)
    return Trainer(family="litgpt", profile=profile, dropout=0.05, default_checkpointing="none")


def _torchtune(row: Mapping[str, str]) -> Trainer:
    """torchtune: recipes/configs, modules/loss, training/_activation_offloading."""
    compiled = "compile" in row["framework"].lower() and "no compile" not in row["framework"].lower()
    chunked = "chunk" in row["fused_loss"].lower()
    loss: p.Loss = ("chunked-compiled" if compiled else "chunked-fp32") if chunked else "full"
    in_backward = "bwd" in row["optimizer"].lower() or "backward" in row["optimizer"].lower()
    profile = replace(p.TORCHTUNE, loss=loss, compiled=compiled, fused_norms=compiled, overlapped_optimizer=in_backward)
    if "2024-04" in row["source"]:
        # Pinned to torchao 0.1, whose nf4tensor.py quantizes a whole matrix at once: the weight, its scaled copy and two
        # differences to all 16 values, each in 16 bit. Its log of the loaded model shows it; later versions work in chunks.
        profile = replace(profile, quantizing_bytes=2.0 + 2.0 + 2 * 16 * 2.0)
    return Trainer(family="torchtune", profile=profile)


def _universal(shape: ModelShape, four_bit: bool) -> Trainer:
    """universal-llm-trainer: its own 16-bit cross-entropy, logits freed, amp off, kbit preparation when quantized."""
    profile = replace(p.PLAIN_LOOP, name="universal-llm-trainer", repeats_kv=True)
    if four_bit:
        profile = replace(profile, kbit_preparation=True, loss="full")  # an fp32 head makes fp32 logits
    if shape.softcap:  # transformers 4.49 runs Gemma 2 with eager attention: product, tanh, softmax and its 16-bit copy
        profile = replace(profile, fused_attention=False, score_bytes=16 if four_bit else 10)
    # Deterministic kernels: less than half the modelled speed, taken from its 16-bit rows. What is fp32 when quantized is in the formula.
    return Trainer(family="universal", profile=profile, dropout=0.05, pace=0.42)


def _bare_loop(four_bit: bool) -> Trainer:
    """fsdp_qlora's first notebook: transformers of early 2024 (logits always fp32), everything cast to bf16."""
    profile = replace(p.PLAIN_LOOP, name="bare loop", loss="mean", adapter_bytes=2, keeps_linear_inputs=four_bit, counter="allocated")
    return Trainer(family="bare loop", profile=profile)


def _fsdp_qlora(four_bit: bool) -> p.TrainerProfile:
    """fsdp_qlora's train.py: bf16 throughout, reentrant checkpointing (no graph in the first pass, so nothing is held)."""
    return p.TrainerProfile(
        name="fsdp_qlora", loss="full-old", logits_retained=True, adapter_bytes=2, autocast=False, repeats_kv=True, counter="reserved"
    )


def _old_hf(name: str, four_bit: bool, row: Mapping[str, str]) -> p.TrainerProfile:
    """A Trainer of late 2023: transformers' fp32 logits with a shifted copy, bitsandbytes that keeps inputs, eager attention by default."""
    fused = any(word in row["attn"].lower() for word in ("flash", "fa2", "sdpa"))
    return p.TrainerProfile(
        name=name, loss="full-old", kbit_preparation=four_bit, repeats_kv=True, fused_attention=fused, keeps_linear_inputs=four_bit,
        counter="reserved",
    )  # fmt: skip


def _llama_factory(row: Mapping[str, str]) -> Trainer:
    """LLaMA-Factory's model/adapter code: reentrant checkpointing by default, no upcast of norms or embeddings."""
    unsloth = "unsloth" in row["fused_loss"].lower() or "unsloth" in row["attn"].lower()
    profile = replace(_old_hf("LLaMA-Factory", False, row), kbit_preparation=False)
    if unsloth:  # its kernels for norms and loss
        profile = replace(profile, loss="fused", fused_norms=True, fused_attention=True)
    return Trainer(family="llama-factory", profile=profile, dropout=0.1, default_checkpointing="layer")


def _vertex(four_bit: bool) -> Trainer:
    """Vertex AI's peft image of late 2023, whose code is not public. TRL's script of that time has paged_adamw_32bit and
    dropout; that the residual is 16 bit and that 4-bit products keep their inputs was concluded from its own rows."""
    profile = p.TrainerProfile(
        name="Vertex peft image", loss="full", repeats_kv=True, fused_attention=False, keeps_linear_inputs=four_bit, counter="reserved",
    )  # fmt: skip
    return Trainer(family="vertex", profile=profile, dropout=0.05, default_optimizer="paged_adamw_32bit")


def _axolotl(row: Mapping[str, str]) -> Trainer:
    """axolotl: kbit preparation for QLoRA without the embeddings' upcast, flash attention, cut cross-entropy where stated."""
    fused = "cut" in row["fused_loss"].lower() or "liger" in row["fused_loss"].lower()
    profile = p.TrainerProfile(name="axolotl", loss="fused" if fused else "full", counter="reserved")
    return Trainer(family="axolotl", profile=profile, default_checkpointing="layer", default_optimizer="adamw_8bit")


def _composer() -> Trainer:
    """llm-foundry under Composer: mixed precision, flash or Triton attention, fully sharded; speed as a card's share."""
    profile = p.TrainerProfile(name="llm-foundry", fused_norms=True, compiled=True, flash_for_all=True)
    return Trainer(family="foundry", profile=profile, speed_per_gpu=True)


def _transformers(row: Mapping[str, str], framework: str, shape: ModelShape, four_bit: bool) -> Trainer:
    """transformers' Trainer or TRL, as far as the row says; anything else is a trainer whose code was not read."""
    if "composer" in framework:
        return _composer()
    if not any(word in framework for word in ("trl", "hf", "transformers", "trainer")):
        made = _unseen(row, shape, four_bit)
        return replace(made, speed_per_gpu=any(word in framework for word in ("nemo", "xtuner")))  # as their tables say
    old = _is_old(row)
    prepared = four_bit and ("prepare_model" in row["weights_dtype"].lower() or "trl" in framework)
    fused = any(word in row["fused_loss"].lower() for word in ("liger", "yes", "cce", "cut", "unsloth"))
    profile = p.TrainerProfile(
        name=row["framework"], loss="fused" if fused else "full-old" if old else "full", kbit_preparation=prepared,
        repeats_kv=True, fused_attention=not _is_eager(row["attn"].lower(), shape, old=old), keeps_linear_inputs=four_bit and old,
        two_int8_layouts=old,
    )  # fmt: skip
    return Trainer(family="transformers", profile=profile)


def _is_old(row: Mapping[str, str]) -> bool:
    """Whether the row says it is from before bitsandbytes 0.43.2 (July 2024) and what transformers was then."""
    text = (row["framework"] + row["attn"] + row["source"]).lower()
    return any(word in text for word in ("2023", "early 2024", "bnb 0.41", "bnb 0.42", "torch 2.0", "torch 2.1", "4.3"))


def _is_eager(attention: str, shape: ModelShape, *, old: bool) -> bool:
    """Whether scores are stored: said outright, or nothing said in the years before fused attention was the default."""
    if "eager" in attention and ("sdpa" not in attention or shape.softcap):
        return True
    return "no flash" in attention or "math only" in attention or (old and not attention.strip())


def _unseen(row: Mapping[str, str], shape: ModelShape, four_bit: bool) -> Trainer:
    """A trainer whose code was not read: precision, loss and attention as the row states them, the commonest choice elsewhere."""
    weights, compute = row["weights_dtype"].lower(), row["compute_dtype"].lower()
    framework, loss_text, attention = row["framework"].lower(), row["fused_loss"].lower(), row["attn"].lower()
    old = _is_old(row)
    prepared = four_bit and "prepare_model" in (weights + row["grad_ckpt"].lower())
    autocast = not any(word in compute + weights for word in ("true", "no amp", "amp off", "cast to"))
    compiled = "compile" in framework and "no compile" not in framework
    loss: p.Loss = "full-old" if old else "full"
    if "chunk" in loss_text:
        loss = "chunked-compiled" if compiled else "chunked-fp32"
    elif any(word in loss_text for word in ("yes", "unsloth", "liger", "cut", "cce")):
        loss = "fused"
    elif "n/a" in loss_text or ("custom" in framework and not autocast and not prepared):
        loss = "half"  # a loop of its own takes the loss of whatever the model returns: 16 bit here
    adapters = 2 if "incl. lora" in weights or "(incl. lora)" in compute + weights or (weights.startswith("bf16") and not autocast) else 4
    hub = any(word in framework for word in ("transformers", "trl", "hf", "peft", "trainer"))
    profile = p.TrainerProfile(
        name="unseen",
        known=False,
        loss=loss,
        kbit_preparation=prepared,
        autocast=autocast,
        adapter_bytes=adapters,
        repeats_kv=True,
        compiled=compiled,
        fused_norms=compiled,
        fused_attention=not _is_eager(attention, shape, old=old),
        score_bytes=8 if shape.softcap else 6,
        keeps_linear_inputs=four_bit and old,
        fused_activation=not hub,
        embedding_state_32bit=hub,
        two_int8_layouts=old,
        overlapped_optimizer="backward" in row["optimizer"].lower() or "bwd" in row["optimizer"].lower(),
    )
    return Trainer(family="unseen", profile=profile, dropout=0.05)
