"""Peak memory of one GPU, by component, with a stated band: pure arithmetic, no torch.

The peak is the largest of four moments of a training step, or of loading (``COMPONENTS`` names what each is made of):

* ``loss``: every layer's kept tensors (or checkpoints) and the logits are there, gradients are not yet;
* ``layer``: backward through the last layer, with its recomputed tensors under checkpointing;
* ``end``: backward through the first layer, when all gradients are there;
* ``step``: the optimizer's step, with its temporary buffers;
* ``load``: quantizing the weights, for the few trainers that do not do it in small pieces.

Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import activations as act
from .parameters import StaticBytes, static_bytes
from .profile import LOGIT_BYTES
from .workload import Workload

GIB = 1024**3
COMPONENTS = (
    "weights", "quant_constants", "unquantized", "lora", "gradients", "optimizer", "activations", "logits", "workspace",
    "cuda_context", "fragmentation",
)  # fmt: skip
CUBLAS_BYTES = 8_519_680  # torch's default cuBLAS workspace (4096 KiB x 2 + 16 KiB x 8), inside the allocator
CONTEXT_BYTES = 0.35 * GIB  # CUDA context and kernels: 0.19 GiB reported on a T4, up to 0.6 seen with newer drivers
# What the caching allocator holds unused, as a share of what comes and goes: freed blocks of one size do not serve a
# request of another. 3 to 31 % over published reserved readings whose allocated part is known. 15 % is a round middle: the
# sources' own medians lie around 12 to 23 %, and with the median of the *other* sources (18 to 20 %) in its place every
# source taken together is still off by 2.6 % at the median.
CACHED = 0.15
# The same where lengths differ from batch to batch: the cache grows until the card is full, and is given back when it
# is needed. So it is in a *reading* of reserved memory (median 0.9 over published ones) and not in what a job needs.
CACHED_VARYING = 0.9
CACHED_MOST = 3.0
_CHUNK = 128  # tokens whose logits litgpt's loss works on at once
_ANSWER_CHUNK = 1024  # positions that our own loss works on at once, recomputed in backward (trainer/heads.py)


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of one GPU at the peak. ``components`` sum to ``expected``."""

    low: float
    expected: float
    high: float
    components: dict[str, float] = field(repr=False)
    moment: str  # loss | layer | end | step | load: where the peak is
    counter: str  # allocated | reserved | process: what the numbers can be compared with

    @property
    def peak_gib(self) -> dict[str, float]:
        """low, expected and high in GiB."""
        return {"low": self.low / GIB, "expected": self.expected / GIB, "high": self.high / GIB}


def _logits(w: Workload) -> tuple[float, float]:
    """(bytes at the loss, bytes still held in the layers' backward)."""
    if w.task in ("classification", "reward"):
        return 0.0, 0.0
    vocab, loss, tokens = w.shape.vocab, w.profile.loss, w.tokens
    per_entry = LOGIT_BYTES[loss]
    if loss == "answer" and w.answer_tokens is not None:
        tokens = min(tokens, w.answer_tokens)
    # What the loop still holds in backward: 16-bit logits, or fp32 ones in litgpt and in transformers before 4.45.
    held = 2.0 if w.profile.logits_retained and loss != "full-old" else 4.0 if w.profile.logits_retained or loss == "chunked" else 0.0
    retained = held * vocab * tokens
    chunk = {"chunked": 8.0 * _CHUNK, "chunked-fp32": 8.0 * tokens / 8}.get(loss, 0.0)
    if w.shape.caps_logits and loss != "fused":  # tanh keeps its 16-bit output; fused kernels cap inside
        per_entry += 2.0
    total = per_entry * vocab * tokens + min(chunk, 12.0 * tokens) * vocab + (2.0 * vocab * tokens if w.profile.logits_retained else 0.0)
    if loss == "answer":
        total = answer_logits(w)
    if w.task == "dpo":  # the reference model's log-probabilities are made first and are small; its logits are not kept
        total += 2.0 * vocab * tokens
    if w.profile.kbit_preparation and w.profile.autocast and w.quantized:
        total += 2.0 * vocab * w.shape.hidden  # autocast's 16-bit copy of an fp32 lm_head
    return total, retained


def answer_logits(w: Workload) -> float:
    """Our own loss: only the positions that carry it, in chunks. A model that caps its logits makes them for every position."""
    vocab, tokens = float(w.shape.vocab), w.tokens
    answers = min(tokens, w.answer_tokens or tokens)
    if not w.shape.caps_logits:
        return LOGIT_BYTES["answer"] * vocab * min(answers, _ANSWER_CHUNK)
    # In 16 bit: tanh's output next to the loss's own tensors; then, in its backward, that and two gradients.
    return vocab * max(2.0 * tokens + LOGIT_BYTES["answer"] * answers, 6.0 * tokens)


@dataclass(frozen=True, kw_only=True)
class _Dynamic:
    """Bytes that depend on the batch."""

    kept: float  # all layers' tensors until backward reaches them: everything, or checkpoints
    one_layer: float  # what backward through one layer adds to that
    last_layer: float  # what is left of ``kept`` when backward is in the first layer
    logits: float
    logits_retained: float
    workspace: float  # of a layer: its largest matrix, dequantized
    head_workspace: float  # the same at the loss, where only a quantized head needs it


def _dynamic(w: Workload) -> _Dynamic:
    shape, tokens, s = w.shape, w.tokens, act.streams(w)
    per_layer = sum(act.layer_tensors(w).values()) * tokens
    temporaries = act.backward_temporaries(w) * tokens
    ends = (s.residual + 4 + s.normed) * shape.hidden * tokens  # embedding output, last norm
    logits, retained = _logits(w)
    if w.checkpointing == "none":
        kept, one, last = per_layer * shape.layers + ends, temporaries, per_layer + ends
        kept += act.product_inputs(w) * tokens * shape.layers if w.profile.keeps_last_graph else 0.0
    else:
        boundary = s.residual * shape.hidden * tokens
        held = act.product_inputs(w) * tokens
        stored = 2 * boundary if w.checkpointing == "offloaded" else boundary * shape.layers
        kept, one, last = stored + held * shape.layers + ends, per_layer - held + temporaries, boundary + held + ends
    layer = 2.0 * shape.largest_matrix if w.quantized else 0.0
    head = 2.0 * shape.head_params if w.quantized and w.profile.quantizes_head else 0.0
    return _Dynamic(
        kept=kept, one_layer=one, last_layer=last, logits=logits, logits_retained=retained, workspace=layer + CUBLAS_BYTES,
        head_workspace=head + CUBLAS_BYTES,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """How much of each part one GPU holds."""

    resident: float  # of weights and the like
    gathered: float  # bytes of parameters unsharded at once, over and above
    trained: float  # of gradients and optimizer state
    reduce: float  # bytes of buckets for the gradients' reduction


def _shares(w: Workload, static: StaticBytes) -> _Shares:
    if w.n_gpus == 1:
        return _Shares(resident=1.0, gathered=0.0, trained=1.0, reduce=0.0)
    if w.parallel == "ddp":
        return _Shares(resident=1.0, gathered=0.0, trained=1.0, reduce=static.gradients)
    root = static.unquantized if w.quantized else float(w.profile.base_bytes * (w.shape.embedding_params + w.shape.head_params))
    layer = (static.weights + static.quant_constants - (0 if w.quantized else root)) / w.shape.layers
    # The unit being computed and the one prefetched; the root unit (embeddings, head) stays unsharded in backward, and when
    # it is trained its gradient is whole too until it is reduced, next to the largest layer's.
    others = 1 - 1 / w.n_gpus
    share = 0.0 if w.cpu_offload else 1.0 / w.n_gpus
    reduce = (root + layer) * others if w.method == "full" else static.gradients / w.n_gpus
    return _Shares(resident=share, gathered=2 * layer + root * others, trained=share, reduce=reduce)


def _while_quantizing(w: Workload) -> float:
    """Elements whose temporaries are held while the model is loaded: the largest matrix's, and in a counter of what is
    reserved also the smaller sizes', whose freed blocks cannot serve a larger request."""
    sizes = {m.inputs * m.outputs for m in w.shape.matrices if m.linear}
    return float(max(sizes) if w.profile.counter == "allocated" else sum(sizes))


def _moments(w: Workload, st: StaticBytes, d: _Dynamic, sh: _Shares) -> dict[str, dict[str, float]]:
    """What each moment adds to the resident part, by component."""
    grads = st.gradients * sh.trained + sh.reduce
    before = grads if w.accumulation > 1 and not w.profile.overlapped_optimizer else 0.0
    base = {"workspace": d.workspace + st.cast_weights}
    moments = {
        "loss": {"workspace": d.head_workspace + st.cast_weights, "gradients": before, "activations": d.kept, "logits": d.logits},
        "layer": {**base, "gradients": max(before, grads / w.shape.layers), "activations": d.kept + d.one_layer,
                  "logits": d.logits_retained},
        "end": {**base, "gradients": grads, "activations": d.last_layer + (d.one_layer if w.checkpointing != "none" else 0.0)},
        "step": {"gradients": grads, "workspace": st.optimizer_temporary * sh.trained + CUBLAS_BYTES},
    }  # fmt: skip
    if w.quantized and w.profile.quantizing_bytes:
        moments["load"] = {"workspace": w.profile.quantizing_bytes * _while_quantizing(w)}
    if w.method == "full":  # then the head's gradient (the embedding's when tied) and one layer's are there, not the others
        head = w.profile.base_bytes * w.shape.vocab * w.shape.hidden if w.task not in ("classification", "reward") else 0.0
        moments["layer"]["gradients"] = max(before, (st.gradients / w.shape.layers + head) * sh.trained)
        if w.profile.loss.startswith("chunked-"):  # made with the first chunk, while the other chunks' logits wait
            moments["loss"]["gradients"] = max(before, head * sh.trained)
    return moments


# How far each component can be from its formula, as a share of it. Weights, adapters and optimizer state are counted,
# and differ by buffers and the allocator's rounding only; kept tensors depend on the kernels that the card picks and on
# whether the longest batch is as long as was said; logits on how the loop holds them; what the allocator keeps unused is
# the least certain (3 to 31 % of the dynamic part, around 15).
_UNCERTAIN = {
    "weights": 0.02, "quant_constants": 0.05, "unquantized": 0.05, "lora": 0.05, "gradients": 0.2, "optimizer": 0.1,
    "activations": 0.15, "logits": 0.15, "workspace": 0.5, "cuda_context": 0.5, "fragmentation": 1.0,
}  # fmt: skip
NARROWEST_BAND = 0.10  # published reserved readings of one setting on two types of card differ by up to 14 %
WIDEST_BAND = 0.15  # a band wider than this would not help anyone choose a card
SHARDED_BAND = 0.35  # fully sharded runs: published readings are 3 to 40 % above the parts that can be counted
WIDEST_UNKNOWN = 0.25  # for a trainer whose code was not read: what it keeps and how it makes its loss is guessed


def _band(w: Workload, parts: dict[str, float]) -> float:
    """Half the width of the band, as a share of the expected peak."""
    total = sum(parts.values())
    unread = 1.0 if w.profile.known else 1.8
    factor = unread * (1.3 if w.quantization == "int8" else 1.0)  # LLM.int8's outlier path keeps what the data asks for
    spread = sum(_UNCERTAIN[name] * size for name, size in parts.items()) * factor
    widest = WIDEST_BAND if w.profile.known else WIDEST_UNKNOWN
    return min(widest, max(NARROWEST_BAND * unread, spread / total))


def estimate_memory(w: Workload) -> MemoryEstimate:
    """Peak bytes of one GPU for this workload, by the counter that its trainer profile names."""
    static, dynamic = static_bytes(w), _dynamic(w)
    shares = _shares(w, static)
    resident = {
        "weights": static.weights * shares.resident + shares.gathered,
        "quant_constants": static.quant_constants * shares.resident,
        "unquantized": static.unquantized * shares.resident,
        "lora": static.lora * shares.trained,
        "optimizer": static.optimizer * shares.trained,
    }
    moments = _moments(w, static, dynamic, shares)
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    parts = {**dict.fromkeys(COMPONENTS, 0.0), **resident, **moments[moment]}
    counter = w.profile.counter
    if counter != "allocated":
        share = CACHED_VARYING if w.varying_lengths and counter == "reserved" else CACHED
        parts["fragmentation"] = share * (parts["activations"] + parts["logits"] + parts["workspace"] + parts["gradients"])
    if counter == "process":
        parts["cuda_context"] = CONTEXT_BYTES
    expected = sum(parts.values())
    half = _band(w, parts)
    low, high = expected * (1 - half), expected * (1 + half)
    if w.varying_lengths and counter == "reserved":  # from nothing cached to what the worst published readings held
        cached = parts["fragmentation"] / CACHED_VARYING
        low, high = min(low, expected - parts["fragmentation"]), max(high, expected + (CACHED_MOST - CACHED_VARYING) * cached)
    if w.quantization == "int8" and w.profile.two_int8_layouts:
        high += static.weights * shares.resident
    if w.n_gpus > 1 and w.parallel == "fsdp":  # prefetched and not yet freed units, and flat buffers, are the framework's affair
        low, high = min(low, expected * (1 - SHARDED_BAND)), max(high, expected * (1 + SHARDED_BAND))
    return MemoryEstimate(low=low, expected=expected, high=high, components=parts, moment=moment, counter=counter)
