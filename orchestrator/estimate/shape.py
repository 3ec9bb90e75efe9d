"""The numbers of a model that its memory and its speed follow from. Plain data; parsing is in ``model_shapes``.

Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

ATTENTION_ROLES = frozenset({"q", "k", "v", "qkv", "o"})
MLP_ROLES = frozenset({"gate", "up", "gate_up", "down"})


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One linear module that occurs once in each of ``layers`` layers (``copies`` times in a layer, for experts)."""

    name: str  # the module's last name, as PEFT's target_modules spells it
    role: str  # q k v qkv o gate up gate_up down router other
    inputs: int  # columns
    outputs: int  # rows
    layers: int  # in how many layers it occurs
    copies: int = 1  # experts in a layer
    active_copies: int = 1  # experts that see one token
    bias: bool = False
    linear: bool = True  # False: experts stacked into one three-dimensional parameter, which bitsandbytes leaves alone

    @property
    def elements(self) -> int:
        """Weights of all layers and copies, without biases."""
        return self.inputs * self.outputs * self.layers * self.copies

    @property
    def largest(self) -> int:
        """Weights of one copy in one layer: what is dequantized at once."""
        return self.inputs * self.outputs

    @property
    def biases(self) -> int:
        """Bias elements of all layers and copies."""
        return self.outputs * self.layers * self.copies if self.bias else 0


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A transformer as its config describes it. Counts are of parameters, not bytes."""

    name: str  # Hub id or folder
    architecture: str  # model_type of the config
    kind: str = "decoder"  # decoder | encoder
    hidden: int  # width of the residual stream
    layers: int
    intermediate: int  # inner width of the (dense) MLP
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int | None  # the longest sequence the model was made for; None: no stated limit
    tied: bool  # lm_head shares the embedding's storage
    gated: bool = True  # MLP is down(act(gate) * up) and not down(act(up))
    norm: str = "rms"  # rms | layer
    parallel: bool = False  # attention and MLP read the same normalized input
    norms_per_layer: int = 2  # of the residual width, per layer
    qk_norm: bool = False  # queries and keys are normalized too
    softcap: bool = False  # scores and logits pass through tanh (Gemma 2): no fused attention in older transformers
    caps_logits: bool = False  # logits pass through tanh (Gemma 2 and 4), whose output is kept
    fused_qkv: bool = False  # one matrix makes queries, keys and values: values pin the whole product
    sliding_window: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate: int = 0
    score_matrices: int = 1  # heads x length x length tensors an unfused attention keeps (DeBERTa: three)
    fused_attention: bool = True  # whether transformers has a fused kernel for it at all
    matrices: tuple[Matrix, ...] = field(repr=False)
    embedding_params: int  # token, position, type and per-layer embeddings
    head_params: int  # lm_head when untied (with its bias); 0 when tied
    norm_params: int  # norms and other vectors, without the matrices' biases
    other_params: int = 0  # kept in 16 bit whatever the quantization: poolers, vision towers

    @property
    def linear_params(self) -> int:
        """Weights of all per-layer matrices, experts included."""
        return sum(m.elements for m in self.matrices)

    @property
    def bias_params(self) -> int:
        """Biases of all per-layer matrices."""
        return sum(m.biases for m in self.matrices)

    @property
    def total_params(self) -> int:
        """What ``model.num_parameters()`` says."""
        parts = (self.linear_params, self.bias_params, self.embedding_params, self.head_params, self.norm_params, self.other_params)
        return sum(parts)

    @property
    def active_params(self) -> int:
        """Weights of the per-layer matrices that one token is multiplied with."""
        return sum(m.largest * m.layers * m.active_copies for m in self.matrices)

    @property
    def q_width(self) -> int:
        """Features of the queries of one token."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Features of the keys (or values) of one token."""
        return self.kv_heads * self.head_dim

    @property
    def largest_matrix(self) -> int:
        """Elements of the largest matrix that is dequantized at once."""
        return max((m.largest for m in self.matrices if m.linear), default=0)

    def untied(self) -> ModelShape:
        """The same model in a trainer that keeps lm_head as a tensor of its own (litgpt does)."""
        return replace(self, tied=False, head_params=self.vocab * self.hidden) if self.tied else self
