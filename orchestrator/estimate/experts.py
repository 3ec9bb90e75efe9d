"""Builders for mixtures of experts, and for Gemma 4 whose layers differ from each other.

transformers 5 keeps all experts of a layer in two three-dimensional parameters. bitsandbytes replaces ``nn.Linear``
only, so such experts stay in 16 bit under QLoRA, and PEFT's ``all-linear`` does not reach them. ``Matrix.linear`` says
which matrices that concerns; a trainer from before (one ``nn.Linear`` an expert) quantizes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architectures import Config, _common, _finish, attention_matrices, gated_matrices, need
from .shape import Matrix, ModelShape


def _experts(hidden: int, inner: int, layers: int, experts: int, active: int) -> list[Matrix]:
    stack: dict[str, Any] = {"layers": layers, "copies": experts, "active_copies": active, "linear": False}
    return [
        Matrix(name="gate_up_proj", role="gate_up", inputs=hidden, outputs=2 * inner, **stack),
        Matrix(name="down_proj", role="down", inputs=inner, outputs=hidden, **stack),
    ]


def _router(hidden: int, layers: int, experts: int) -> Matrix:
    return Matrix(name="gate", role="router", inputs=hidden, outputs=experts, layers=layers, linear=False)


def mixture(c: Config, *, qkv_bias: bool = False, qk_norm: bool = False, wide_qk_norm: bool = False) -> ModelShape:
    """Mixtral, Qwen2-MoE, Qwen3-MoE and OLMoE: every ``decoder_sparse_step``-th layer is a mixture."""
    b = _common(c)
    hidden, n = b["hidden"], b["layers"]
    experts = need(c, "num_local_experts", "num_experts")
    active = need(c, "num_experts_per_tok")
    inner = c.get("moe_intermediate_size") or need(c, "intermediate_size")
    b["intermediate"] = need(c, "intermediate_size")
    step = c.get("decoder_sparse_step") or 1
    dense_only = set(c.get("mlp_only_layers") or [])
    sparse = sum(1 for i in range(n) if i not in dense_only and (i + 1) % step == 0)
    matrices = attention_matrices(b, qkv_bias=qkv_bias or bool(c.get("attention_bias")), o_bias=bool(c.get("attention_bias")))
    matrices += [_router(hidden, sparse, experts), *_experts(hidden, inner, sparse, experts, active)]
    if n - sparse:
        matrices += gated_matrices(hidden, b["intermediate"], n - sparse)
    shared = c.get("shared_expert_intermediate_size") or 0
    if shared:
        matrices += gated_matrices(hidden, shared, sparse)
        matrices.append(Matrix(name="shared_expert_gate", role="router", inputs=hidden, outputs=1, layers=sparse))
    more: dict[str, Any] = {"experts": experts, "experts_per_token": active, "moe_intermediate": inner, "qk_norm": qk_norm}
    if wide_qk_norm:  # OLMoE normalizes all heads at once
        more["norm_params"] = n * (2 * hidden + b["heads"] * b["head_dim"] + b["kv_heads"] * b["head_dim"]) + hidden
    return _finish(b, c, matrices, tied_default=False, **more)


def gpt_oss(c: Config) -> ModelShape:
    """gpt-oss: biases everywhere, one learned sink a head, every layer a mixture."""
    b = _common(c)
    hidden, n = b["hidden"], b["layers"]
    inner = b["intermediate"] = need(c, "intermediate_size")
    experts, active = need(c, "num_local_experts"), need(c, "num_experts_per_tok", "experts_per_token")
    stacked = [replace(m, bias=True) for m in _experts(hidden, inner, n, experts, active)]
    matrices = [*attention_matrices(b, qkv_bias=True, o_bias=True), replace(_router(hidden, n, experts), bias=True), *stacked]
    vectors = n * (2 * hidden + b["heads"]) + hidden
    more = {"experts": experts, "experts_per_token": active, "moe_intermediate": inner, "norm_params": vectors, "fused_attention": False}
    return _finish(b, c, matrices, tied_default=False, **more)


def deepseek_v2(c: Config) -> ModelShape:
    """DeepSeek-V2 and V2-Lite: latent attention, shared experts, first layers dense."""
    b = _common(c)
    hidden, n, heads = b["hidden"], b["layers"], b["heads"]
    rope, nope, value = need(c, "qk_rope_head_dim"), need(c, "qk_nope_head_dim"), need(c, "v_head_dim")
    rank, inner = need(c, "kv_lora_rank"), need(c, "moe_intermediate_size")
    b.update(head_dim=rope + nope, kv_heads=heads, intermediate=need(c, "intermediate_size"))
    experts, active, shared = need(c, "n_routed_experts"), need(c, "num_experts_per_tok"), c.get("n_shared_experts") or 0
    dense = c.get("first_k_dense_replace") or 0
    q_rank = c.get("q_lora_rank")
    matrices = [
        Matrix(name="kv_a_proj_with_mqa", role="other", inputs=hidden, outputs=rank + rope, layers=n),
        Matrix(name="kv_b_proj", role="k", inputs=rank, outputs=heads * (nope + value), layers=n),
        Matrix(name="o_proj", role="o", inputs=heads * value, outputs=hidden, layers=n),
        _router(hidden, n - dense, experts),
        *_experts(hidden, inner, n - dense, experts, active),
    ]
    if q_rank:
        matrices.append(Matrix(name="q_a_proj", role="other", inputs=hidden, outputs=q_rank, layers=n))
    matrices.append(
        Matrix(name="q_b_proj" if q_rank else "q_proj", role="q", inputs=q_rank or hidden, outputs=heads * (rope + nope), layers=n)
    )
    if dense:
        matrices += gated_matrices(hidden, b["intermediate"], dense)
    if shared:
        matrices += gated_matrices(hidden, inner * shared, n - dense)
    norms = n * (2 * hidden + rank + (q_rank or 0)) + hidden
    more = {"experts": experts, "experts_per_token": active, "moe_intermediate": inner, "norm_params": norms}
    return _finish(b, c, matrices, tied_default=False, **more)


def gemma4(c: Config) -> ModelShape:
    """Gemma 4's text model: wide heads in full-attention layers, shared keys and values, per-layer embeddings."""
    b = _common(c)
    hidden, n, heads, kv, hd = b["hidden"], b["layers"], b["heads"], b["kv_heads"], b["head_dim"]
    inner = b["intermediate"] = need(c, "intermediate_size")
    full_kv = (c.get("num_global_key_value_heads") if c.get("attention_k_eq_v") else None) or kv
    full_hd = c.get("global_head_dim", 512)
    kinds = list(c.get("layer_types") or ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(n)])
    kinds[-1] = "full_attention"
    own = n - (c.get("num_kv_shared_layers") or 0)  # layers with keys and values of their own
    matrices: list[Matrix] = []
    vectors = n * 4 * hidden + hidden
    for kind, dim, groups in (("sliding_attention", hd, kv), ("full_attention", full_hd, full_kv)):
        count, keyed = kinds.count(kind), kinds[:own].count(kind)
        if not count:
            continue
        same = kind == "full_attention" and bool(c.get("attention_k_eq_v"))
        matrices += [
            Matrix(name="q_proj", role="q", inputs=hidden, outputs=heads * dim, layers=count),
            Matrix(name="k_proj", role="k", inputs=hidden, outputs=groups * dim, layers=keyed),
            *([] if same else [Matrix(name="v_proj", role="v", inputs=hidden, outputs=groups * dim, layers=keyed)]),
            Matrix(name="o_proj", role="o", inputs=heads * dim, outputs=hidden, layers=count),
        ]
        vectors += count * dim + keyed * dim
    wide = n - own if c.get("use_double_wide_mlp") else 0
    matrices += gated_matrices(hidden, inner, n - wide) + (gated_matrices(hidden, 2 * inner, wide) if wide else [])
    return _gemma4_rest(b, c, matrices, vectors)


def _gemma4_rest(b: dict[str, Any], c: Config, matrices: list[Matrix], vectors: int) -> ModelShape:
    hidden, n = b["hidden"], b["layers"]
    embeddings = b["vocab"] * hidden
    more: dict[str, Any] = {}
    per_layer = c.get("hidden_size_per_layer_input") or 0
    if per_layer:
        embeddings += (c.get("vocab_size_per_layer_input") or b["vocab"]) * n * per_layer
        matrices += [
            Matrix(name="per_layer_input_gate", role="other", inputs=hidden, outputs=per_layer, layers=n),
            Matrix(name="per_layer_projection", role="other", inputs=per_layer, outputs=hidden, layers=n),
            Matrix(name="per_layer_model_projection", role="other", inputs=hidden, outputs=n * per_layer, layers=1),
        ]
        vectors += n * hidden + per_layer
    if c.get("enable_moe_block"):
        experts, active, inner = need(c, "num_experts"), need(c, "top_k_experts"), need(c, "moe_intermediate_size")
        matrices += [
            Matrix(name="proj", role="router", inputs=hidden, outputs=experts, layers=n),
            *_experts(hidden, inner, n, experts, active),
        ]
        vectors += n * (3 * hidden + hidden + experts)
        more = {"experts": experts, "experts_per_token": active, "moe_intermediate": inner}
    more |= {"embedding_params": embeddings, "norm_params": vectors, "norms_per_layer": 4, "qk_norm": True}
    more["caps_logits"] = bool(c.get("final_logit_softcapping", 30.0))  # 30 in every published checkpoint
    return _finish(b, c, matrices, tied_default=True, **more)
