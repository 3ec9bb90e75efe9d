"""From a Hub ``config.json`` (a dict) to a :class:`~orchestrator.estimate.shape.ModelShape`, one builder a family.

Every count here is checked against the model that transformers builds from the same config (tests/unit/estimate).
Sources: the modelling files of transformers 5.17, and for older remote-code models the published config and code.
Must not guess: what has no builder is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .problems import CannotSize
from .shape import Matrix, ModelShape

Config = Mapping[str, Any]


def need(config: Config, *names: str) -> int:
    """The first of these keys that holds a positive number. Raises :class:`CannotSize` when none does."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
            return value
    raise CannotSize(f"the config of {config.get('_name', 'this model')} has no {' or '.join(names)}", hint=TRACE_HINT)


TRACE_HINT = "where torch is installed, `cloudtune estimate --trace` measures the model itself instead"
_LARGEST = 10**9  # of any one number that builders read; no model is near it
# What builders read besides what they need: absent or null, or a whole number of at least this.
_OPTIONAL = {
    **dict.fromkeys(
        ("num_key_value_heads", "head_dim", "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_inner",
         "num_kv_heads", "ffn_hidden_size", "num_ln_in_parallel_attn", "moe_intermediate_size", "decoder_sparse_step",
         "num_global_key_value_heads", "global_head_dim", "vocab_size_per_layer_input", "expansion_ratio"), 1),
    **dict.fromkeys(
        ("shared_expert_intermediate_size", "n_shared_experts", "first_k_dense_replace", "q_lora_rank", "num_kv_shared_layers",
         "hidden_size_per_layer_input", "type_vocab_size"), 0),
}  # fmt: skip


def check_optional(config: Config) -> None:
    """Raises :class:`CannotSize` when a number that may be left out is there and is none."""
    for name, least in _OPTIONAL.items():
        value = config.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST):
            said = f"{value!r}"[:40]
            raise CannotSize(f"the config of {config.get('_name', 'this model')} says {name}: {said}, which is no size a model can have")


def _common(c: Config) -> dict[str, Any]:
    hidden, heads = need(c, "hidden_size", "n_embd", "d_model", "dim"), need(c, "num_attention_heads", "n_head", "n_heads")
    return {
        "name": str(c.get("_name", "?")),
        "architecture": str(c["model_type"]),
        "hidden": hidden,
        "layers": need(c, "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        "heads": heads,
        "kv_heads": c.get("num_key_value_heads") or heads,
        "head_dim": c.get("head_dim") or hidden // heads,
        "vocab": need(c, "vocab_size", "padded_vocab_size"),
        "positions": c.get("max_position_embeddings") or c.get("n_positions") or c.get("max_seq_len") or c.get("seq_length"),
        "sliding_window": c.get("sliding_window"),
    }


def attention_matrices(b: Mapping[str, Any], *, qkv_bias: bool = False, o_bias: bool = False, o_name: str = "o_proj") -> list[Matrix]:
    """Separate query, key, value and output projections."""
    hidden, n, hd = b["hidden"], b["layers"], b["head_dim"]
    q, kv = b["heads"] * hd, b["kv_heads"] * hd
    return [
        Matrix(name="q_proj", role="q", inputs=hidden, outputs=q, layers=n, bias=qkv_bias),
        Matrix(name="k_proj", role="k", inputs=hidden, outputs=kv, layers=n, bias=qkv_bias),
        Matrix(name="v_proj", role="v", inputs=hidden, outputs=kv, layers=n, bias=qkv_bias),
        Matrix(name=o_name, role="o", inputs=q, outputs=hidden, layers=n, bias=o_bias),
    ]


def gated_matrices(hidden: int, inner: int, layers: int, *, bias: bool = False) -> list[Matrix]:
    """gate, up and down projections of a dense gated MLP."""
    return [
        Matrix(name="gate_proj", role="gate", inputs=hidden, outputs=inner, layers=layers, bias=bias),
        Matrix(name="up_proj", role="up", inputs=hidden, outputs=inner, layers=layers, bias=bias),
        Matrix(name="down_proj", role="down", inputs=inner, outputs=hidden, layers=layers, bias=bias),
    ]


def plain_matrices(hidden: int, inner: int, layers: int, up: str, down: str, *, bias: bool) -> list[Matrix]:
    """The two matrices of an ungated MLP."""
    return [
        Matrix(name=up, role="up", inputs=hidden, outputs=inner, layers=layers, bias=bias),
        Matrix(name=down, role="down", inputs=inner, outputs=hidden, layers=layers, bias=bias),
    ]


def _finish(b: dict[str, Any], c: Config, matrices: list[Matrix], *, tied_default: bool, **more: Any) -> ModelShape:
    """Embeddings, head and norms in the usual places; ``more`` overrides."""
    tied = bool(c.get("tie_word_embeddings", tied_default))
    hidden, n = b["hidden"], b["layers"]
    per_norm = hidden * (2 if more.get("norm") == "layer" else 1)
    norms = more.get("norms_per_layer", 2)
    built: dict[str, Any] = {
        **b,
        "tied": tied,
        "caps_logits": bool(c.get("final_logit_softcapping")),
        "matrices": tuple(matrices),
        "embedding_params": b["vocab"] * hidden,
        "head_params": 0 if tied else b["vocab"] * hidden,
        "norm_params": n * norms * per_norm + per_norm + (2 * b["head_dim"] * n if more.get("qk_norm") else 0),
    }
    return ModelShape(**{**built, **more})


def llama_like(c: Config, *, qkv_bias: bool = False, tied: bool = False, **more: Any) -> ModelShape:
    """Llama, Mistral, Qwen2, Qwen3, Gemma and what was derived from them."""
    b = _common(c)
    b["intermediate"] = need(c, "intermediate_size")
    bias = bool(c.get("attention_bias", False))
    matrices = attention_matrices(b, qkv_bias=qkv_bias or bias, o_bias=bool(c.get("attention_out_bias", bias)))
    matrices += gated_matrices(b["hidden"], b["intermediate"], b["layers"], bias=bool(c.get("mlp_bias", False)))
    return _finish(b, c, matrices, tied_default=tied, **more)


def phi3(c: Config) -> ModelShape:
    """Phi-3, Phi-3.5 and Phi-4: fused query-key-value and gate-up matrices."""
    b = _common(c)
    b["intermediate"] = inner = need(c, "intermediate_size")
    hidden, n, hd = b["hidden"], b["layers"], b["head_dim"]
    qkv = (b["heads"] + 2 * b["kv_heads"]) * hd
    matrices = [
        Matrix(name="qkv_proj", role="qkv", inputs=hidden, outputs=qkv, layers=n),
        Matrix(name="o_proj", role="o", inputs=b["heads"] * hd, outputs=hidden, layers=n),
        Matrix(name="gate_up_proj", role="gate_up", inputs=hidden, outputs=2 * inner, layers=n),
        Matrix(name="down_proj", role="down", inputs=inner, outputs=hidden, layers=n),
    ]
    return _finish(b, c, matrices, tied_default=False, fused_qkv=True)


def phi(c: Config) -> ModelShape:
    """Phi-1.5 and Phi-2: parallel block, one LayerNorm a layer, biases everywhere, a bias on lm_head."""
    b = _common(c)
    b["intermediate"] = need(c, "intermediate_size", "n_inner")
    matrices = attention_matrices(b, qkv_bias=True, o_bias=True, o_name="dense")
    matrices += plain_matrices(b["hidden"], b["intermediate"], b["layers"], "fc1", "fc2", bias=True)
    head = b["vocab"] * b["hidden"] + b["vocab"]
    return _finish(b, c, matrices, tied_default=False, gated=False, norm="layer", parallel=True, norms_per_layer=1, head_params=head)


def gpt2(c: Config) -> ModelShape:
    """GPT-2 family: learned positions, Conv1D matrices, tied."""
    b = _common(c)
    b["intermediate"] = inner = c.get("n_inner") or 4 * b["hidden"]
    hidden, n = b["hidden"], b["layers"]
    matrices = [
        Matrix(name="c_attn", role="qkv", inputs=hidden, outputs=3 * hidden, layers=n, bias=True),
        Matrix(name="c_proj", role="o", inputs=hidden, outputs=hidden, layers=n, bias=True),
        Matrix(name="c_fc", role="up", inputs=hidden, outputs=inner, layers=n, bias=True),
        Matrix(name="c_proj", role="down", inputs=inner, outputs=hidden, layers=n, bias=True),
    ]
    embeddings = (b["vocab"] + need(c, "n_positions", "n_ctx")) * hidden
    return _finish(b, c, matrices, tied_default=True, gated=False, norm="layer", fused_qkv=True, embedding_params=embeddings)


def neox_like(c: Config, *, head: str | None = None) -> ModelShape:
    """GPT-NeoX, Pythia and StableLM-alpha; parallel residual by default."""
    b = _common(c)
    b["intermediate"] = inner = need(c, "intermediate_size")
    hidden, n = b["hidden"], b["layers"]
    matrices = [
        Matrix(name="query_key_value", role="qkv", inputs=hidden, outputs=3 * hidden, layers=n, bias=bool(c.get("attention_bias", True))),
        Matrix(name="dense", role="o", inputs=hidden, outputs=hidden, layers=n, bias=bool(c.get("attention_bias", True))),
        *plain_matrices(hidden, inner, n, "dense_h_to_4h", "dense_4h_to_h", bias=True),
    ]
    return _finish(b, c, matrices, tied_default=False, gated=False, norm="layer", fused_qkv=True)


def falcon(c: Config) -> ModelShape:
    """Falcon 7B (one key-value head, one norm) and 40B/180B/11B (grouped heads)."""
    b = _common(c)
    new = bool(c.get("new_decoder_architecture", False))
    b["kv_heads"] = c.get("num_kv_heads") or b["heads"] if new or not c.get("multi_query", True) else 1
    b["intermediate"] = inner = c.get("ffn_hidden_size") or 4 * b["hidden"]
    hidden, n, bias = b["hidden"], b["layers"], bool(c.get("bias", False))
    qkv = (b["heads"] + 2 * b["kv_heads"]) * b["head_dim"]
    matrices = [
        Matrix(name="query_key_value", role="qkv", inputs=hidden, outputs=qkv, layers=n, bias=bias),
        Matrix(name="dense", role="o", inputs=hidden, outputs=hidden, layers=n, bias=bias),
        *plain_matrices(hidden, inner, n, "dense_h_to_4h", "dense_4h_to_h", bias=bias),
    ]
    parallel = bool(c.get("parallel_attn", True))
    norms = c.get("num_ln_in_parallel_attn") or (2 if new else 1) if parallel else 2
    more = {"gated": False, "norm": "layer", "parallel": parallel, "norms_per_layer": norms, "fused_qkv": True}
    return _finish(b, c, matrices, tied_default=True, **more)


def opt(c: Config) -> ModelShape:
    """OPT: learned positions (two more than stated), LayerNorm, biases, tied."""
    b = _common(c)
    b["intermediate"] = inner = need(c, "ffn_dim")
    if c.get("word_embed_proj_dim", b["hidden"]) != b["hidden"]:
        raise CannotSize("this OPT projects its embeddings (opt-350m), which has no formula here", hint=TRACE_HINT)
    matrices = attention_matrices(b, qkv_bias=True, o_bias=True, o_name="out_proj")
    matrices += plain_matrices(b["hidden"], inner, b["layers"], "fc1", "fc2", bias=True)
    embeddings = (b["vocab"] + need(c, "max_position_embeddings") + 2) * b["hidden"]
    return _finish(b, c, matrices, tied_default=True, gated=False, norm="layer", embedding_params=embeddings)


def mpt(c: Config) -> ModelShape:
    """MPT: ALiBi, no biases, tied."""
    b = _common(c)
    b["intermediate"] = inner = b["hidden"] * int(c.get("expansion_ratio", 4))
    hidden, n = b["hidden"], b["layers"]
    matrices = [
        Matrix(name="Wqkv", role="qkv", inputs=hidden, outputs=3 * hidden, layers=n),
        Matrix(name="out_proj", role="o", inputs=hidden, outputs=hidden, layers=n),
        *plain_matrices(hidden, inner, n, "up_proj", "down_proj", bias=False),
    ]
    norm_params = (2 * n + 1) * hidden
    more = {"gated": False, "norm": "layer", "fused_qkv": True, "norm_params": norm_params, "fused_attention": False}
    return _finish(b, c, matrices, tied_default=True, **more)


def chatglm(c: Config) -> ModelShape:
    """ChatGLM2 and 3: two key-value groups, fused query-key-value and gate-up matrices, untied (its published code)."""
    b = _common(c)
    b["kv_heads"] = need(c, "multi_query_group_num")
    b["intermediate"] = inner = need(c, "ffn_hidden_size")
    hidden, n = b["hidden"], b["layers"]
    qkv = (b["heads"] + 2 * b["kv_heads"]) * b["head_dim"]
    matrices = [
        Matrix(name="query_key_value", role="qkv", inputs=hidden, outputs=qkv, layers=n, bias=True),
        Matrix(name="dense", role="o", inputs=hidden, outputs=hidden, layers=n),
        Matrix(name="dense_h_to_4h", role="gate_up", inputs=hidden, outputs=2 * inner, layers=n),
        Matrix(name="dense_4h_to_h", role="down", inputs=inner, outputs=hidden, layers=n),
    ]
    return _finish(b, c, matrices, tied_default=False, fused_qkv=True)


def apertus(c: Config) -> ModelShape:
    """Apertus: an ungated MLP with a learned activation (two scalars a layer), normalized queries and keys."""
    b = _common(c)
    b["intermediate"] = inner = need(c, "intermediate_size")
    matrices = attention_matrices(b) + plain_matrices(b["hidden"], inner, b["layers"], "up_proj", "down_proj", bias=False)
    vectors = b["layers"] * (2 * b["hidden"] + 2 * b["head_dim"] + 2) + b["hidden"]
    return _finish(b, c, matrices, tied_default=False, gated=False, qk_norm=True, norm_params=vectors)


def bert_like(c: Config, *, pooler: bool = True, types: bool = True, extra_positions: int = 0, scores: int = 1) -> ModelShape:
    """BERT, RoBERTa, ELECTRA, DistilBERT, MiniLM: post-norm encoders with learned positions."""
    b = _common(c)
    b["intermediate"] = inner = need(c, "intermediate_size", "hidden_dim")
    hidden, n = b["hidden"], b["layers"]
    matrices = [
        *(Matrix(name=x, role=x[0], inputs=hidden, outputs=hidden, layers=n, bias=True) for x in ("query", "key", "value")),
        Matrix(name="dense", role="o", inputs=hidden, outputs=hidden, layers=n, bias=True),
        *plain_matrices(hidden, inner, n, "dense", "dense", bias=True),
    ]
    embeddings = (b["vocab"] + need(c, "max_position_embeddings") + extra_positions) * hidden
    if types:
        embeddings += (c.get("type_vocab_size") or 0) * hidden
    return _finish(
        b, c, matrices, tied_default=True, kind="encoder", gated=False, norm="layer", embedding_params=embeddings, score_matrices=scores,
        norm_params=(2 * n + 1) * 2 * hidden, other_params=hidden * hidden + hidden if pooler else 0,
    )  # fmt: skip


def deberta(c: Config) -> ModelShape:
    """DeBERTa-v2/v3: relative-position embeddings, three score matrices, no fused attention."""
    shape = bert_like({**c, "type_vocab_size": c.get("type_vocab_size", 0)}, pooler=True, scores=3)
    hidden = shape.hidden
    buckets = c.get("position_buckets", -1)
    span = buckets if buckets and buckets > 0 else c.get("max_relative_positions") or need(c, "max_position_embeddings")
    absolute = 0 if c.get("position_biased_input", True) else need(c, "max_position_embeddings") * hidden
    relative_norm = 2 * hidden if "layer_norm" in str(c.get("norm_rel_ebd", "none")) else 0
    if c.get("conv_kernel_size"):
        raise CannotSize("this DeBERTa has a convolution, which has no formula here", hint=TRACE_HINT)
    names = {"query": "query_proj", "key": "key_proj", "value": "value_proj"}
    changed = {
        "fused_attention": False,
        "embedding_params": shape.embedding_params - absolute + 2 * span * hidden,
        "norm_params": shape.norm_params + relative_norm,
        "matrices": tuple(Matrix(**{**_fields(m), "name": names.get(m.name, m.name)}) for m in shape.matrices),
    }
    return ModelShape(**{**_fields(shape), **changed})


def _fields(thing: Matrix | ModelShape) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in thing.__dataclass_fields__}


Builder = Callable[[Config], ModelShape]
