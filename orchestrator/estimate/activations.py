"""What autograd keeps of one token in one layer, tensor by tensor.

Each entry is a tensor that some backward formula saves, found by reading transformers 5.17 (``modeling_llama.py``: the
norm keeps its fp32 input, rotary embedding keeps nothing, the fused attention keeps q, k, v and its output, a gated MLP
keeps both halves and the activation), PEFT 0.21 (``_cast_input_dtype``), bitsandbytes (``MatMul4Bit``) and litgpt, and
confirmed by tracing real modules with fake tensors (``trainer/trace.py``): 17 H + 8 I bytes a token and layer for
QLoRA on all matrices of a grouped-query Llama under autocast, 25 H + 14 I after kbit preparation.

A frozen linear layer keeps its weight only, never its input; what reads the input again is LoRA's A, a trained weight,
or bitsandbytes before 0.43.2. Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass

from .shape import Matrix
from .workload import Workload

_NO_ROTARY = frozenset({"gpt2", "opt", "mpt", "bloom", "bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2"})
_TANH_FORMULA = frozenset({"gpt2", "phi"})  # gelu_new written out in Python keeps four tensors of the inner width
_GROUP = {"q": "attention input", "k": "attention input", "v": "attention input", "qkv": "attention input", "o": "attention output",
          "gate": "mlp input", "up": "mlp input", "gate_up": "mlp input", "down": "mlp product", "router": "mlp input"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Bytes of an element in each stream of the block, as precision settings make them."""

    residual: int  # what flows past the block
    normed: int  # what the norms hand to the linear layers
    linear: int  # what a linear layer returns
    attention: int  # what the attention kernel reads and returns


def streams(w: Workload) -> Streams:
    """kbit preparation makes norms fp32, so everything after them is; autocast makes products and attention 16 bit."""
    p = w.profile
    if p.kbit_preparation:  # bitsandbytes returns its product in the dtype of its input
        return Streams(residual=4, normed=4, linear=4, attention=2 if p.autocast else 4)
    if p.base_bytes == 4:
        half = 2 if p.autocast else 4
        return Streams(residual=4, normed=4, linear=half, attention=half)
    return Streams(residual=2, normed=2, linear=2, attention=2)


def _width(w: Workload, *roles: str, side: str = "outputs") -> float:
    """Features of these roles in the average layer, experts counted as often as a token visits them."""
    total: int = sum(getattr(m, side) * m.layers * m.active_copies for m in w.shape.matrices if m.role in roles)
    return total / w.shape.layers


def inner_width(w: Workload) -> float:
    """Width of the MLP's inside in the average layer."""
    return _width(w, "down", side="inputs")


def _norms(w: Workload, s: Streams) -> float:
    shape, p = w.shape, w.profile
    hidden, count = shape.hidden, shape.norms_per_layer
    if p.fused_norms:
        kept = s.residual
    elif shape.norm == "layer":
        kept = 4 if p.autocast else s.residual
    else:
        kept = 4
    trained = s.normed if w.method == "full" and shape.norm == "rms" and not p.fused_norms else 0
    total = count * (kept + trained) * hidden
    if shape.qk_norm:
        total += kept * (shape.q_width + shape.kv_width)
    return float(total)


def _attention(w: Workload, s: Streams) -> dict[str, float]:
    shape, p = w.shape, w.profile
    q = _width(w, "q") or shape.q_width
    k = _width(w, "k") if shape.architecture in ("gemma4_text", "deepseek_v2") else shape.kv_width
    v = _width(w, "v") if shape.architecture == "gemma4_text" else k
    masked = p.masks_padding and w.micro_batch > 1
    repeated = (p.repeats_kv or masked) and shape.kv_heads < shape.heads
    fused = shape.fused_qkv or p.fuses_qkv
    kept: dict[str, float] = {"attention output": s.attention * q, "attention statistics": 4.0 * shape.heads}
    if fused and shape.architecture in _NO_ROTARY and not repeated:
        kept["qkv"] = s.linear * (q + 2 * k)
    else:
        pinned = fused and not repeated and s.attention == s.linear  # values are a view into the fused product
        kept["queries"] = s.attention * q
        kept["keys"] = s.attention * (q if repeated else k)
        kept["values"] = s.linear * (q + 2 * k) if pinned else s.attention * (q if repeated else v)
    if not (p.flash_for_all or (p.fused_attention and shape.fused_attention)):
        kept["scores"] = float(p.score_bytes * shape.heads * w.max_length * shape.score_matrices)
    return kept


def _mlp(w: Workload, s: Streams) -> float:
    inner = inner_width(w)
    if w.shape.gated:
        return s.linear * inner * (2 if w.profile.compiled else 3)
    tensors = 4 if w.shape.architecture in _TANH_FORMULA and not w.profile.fused_activation else 1
    return s.linear * inner * tensors


def _source_bytes(matrix: Matrix, s: Streams) -> int:
    """Bytes of an element of this matrix's input as the model hands it over."""
    return {"o": s.attention, "down": s.linear}.get(matrix.role, s.normed)


def _lora_copy(w: Workload, source: int) -> int:
    """Bytes of an element of the input LoRA keeps for itself; 0 when it keeps the module's own input.

    PEFT casts the input to the adapter's dtype. Under autocast its 4-bit layer leaves it alone (autocast then makes a
    16-bit copy of an fp32 input), and its plain layer casts up and autocast down again: a 16-bit copy.
    """
    p = w.profile
    if p.autocast:
        return 2 if source == 4 or (not w.quantized and p.adapter_bytes == 4) else 0
    return p.adapter_bytes if p.adapter_bytes != source else 0


def _inputs(w: Workload, s: Streams) -> dict[str, float]:
    """Inputs of linear layers that something keeps, by tensor; tensors that share storage share a key."""
    p, n = w.profile, w.shape.layers
    targeted = set(map(id, w.targeted)) if w.method == "lora" else set()
    kept: dict[str, float] = {}
    for index, m in enumerate(w.shape.matrices):
        share = m.inputs * m.layers * m.active_copies / n
        source = _source_bytes(m, s)
        group = "attention input" if w.shape.parallel and m.role in ("up", "gate") else _GROUP.get(m.role, f"input {index}")
        module = "qkv" if p.fuses_qkv and m.role in ("q", "k", "v") else str(index)
        own = 0.0
        if id(m) in targeted:
            copy = _lora_copy(w, source)
            if w.lora_dropout:
                copy = copy or source
                own = share  # the mask, one byte an element
            own += copy * share
            if w.lora_dora:  # the base product and LoRA's own, for the magnitude's gradient
                kept[f"dora {index}"] = (s.linear + p.adapter_bytes) * m.outputs * m.layers / n
            rank_bytes = 2 if p.autocast else p.adapter_bytes
            kept[f"rank {index}"] = w.lora_r * rank_bytes * m.layers * m.active_copies / n
            if copy == 0:
                kept[group] = max(kept.get(group, 0.0), source * share)
        elif w.method == "full":
            if source == 4 and p.autocast:
                own = 2 * share
            else:
                kept[group] = max(kept.get(group, 0.0), source * share)
        if own:
            kept[f"copy {module}"] = max(kept.get(f"copy {module}", 0.0), own)
    if p.fuses_qkv and w.method == "lora":  # litgpt pads with index_copy, whose backward keeps what it copied
        parts = [m for m in w.shape.matrices if m.role in ("q", "k", "v")]
        chosen = [m for m in parts if id(m) in targeted]
        if 0 < len(chosen) < 3:
            kept["padded update"] = s.linear * sum(m.outputs * m.layers for m in chosen) / n
    return kept


def product_inputs(w: Workload) -> float:
    """Bytes a token and layer that bitsandbytes holds: the input of every quantized product, as a plain attribute.

    ``MatMul8bitLt`` does so to this day (0.50), ``MatMul4Bit`` did before 0.43.2. Autograd does not know these tensors, so
    checkpointing does not free them. Matrices with the same input hold the same tensor.
    """
    eight = w.quantization == "int8"
    if not (eight or (w.profile.keeps_linear_inputs and w.quantized)):
        return 0.0
    s, kept = streams(w), dict[str, float]()
    for m in w.shape.matrices:
        if m.linear and m.role in _GROUP and m.role != "router":
            key = "attention input" if w.shape.parallel and m.role in ("up", "gate") else _GROUP[m.role]
            size = _source_bytes(m, s) if eight else 2
            kept[key] = max(kept.get(key, 0.0), size * m.inputs * m.layers * m.active_copies / w.shape.layers)
    return sum(kept.values())


def layer_tensors(w: Workload) -> dict[str, float]:
    """Bytes that the average layer keeps of one token, by tensor."""
    s = streams(w)
    kept = _attention(w, s)
    kept["norms"] = _norms(w, s)
    kept["mlp"] = _mlp(w, s)
    for key, size in _inputs(w, s).items():
        kept[key] = max(kept.get(key, 0.0), size)
    held = product_inputs(w)
    if held:  # an input that LoRA keeps too is the same tensor
        groups = ("attention input", "mlp input", "mlp product", *(() if w.profile.fuses_qkv else ("attention output",)))
        shared = sum(kept.get(g, 0.0) for g in groups)  # litgpt's output projection reads a reshaped copy
        kept["product inputs"] = max(0.0, held - shared) if s.normed == 2 else held
    if w.shape.experts:
        kept["routing"] = 4.0 * w.shape.experts_per_token * w.shape.hidden  # inputs gathered for, and outputs of, each expert
    if w.shape.kind == "encoder" or w.shape.architecture in ("gpt2", "opt"):  # dropout of their own, a byte an element
        kept["dropout masks"] = 2.0 * w.shape.hidden
    return kept


def backward_temporaries(w: Workload) -> float:
    """Bytes a token that one layer's backward needs at once: gradients of the MLP's inside and of the residual."""
    s = streams(w)
    extra = 4 * inner_width(w) if not w.profile.autocast and w.profile.adapter_bytes == 4 and w.method == "lora" else 0
    fused = any(m.role == "gate_up" for m in w.shape.matrices)  # the gradients of both halves are put together in a third tensor
    return (4 if fused else 2) * s.linear * inner_width(w) + 2 * s.residual * w.shape.hidden + extra
