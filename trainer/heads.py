"""Logits only where they are needed: the decoder body gives hidden states, the head sees the chosen positions.

A vocabulary is 50 to 250 thousand entries wide, so the logits of a prompt cost more memory than a layer and teach
nothing. Whether body and head alone give what the whole model gives (no soft-capping, no scaling) is tried once on
a few tokens; if they do not, the full forward is used. Must not change the model.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint

CHUNK_POSITIONS = 1024  # more loss positions than this are scored in chunks that are recomputed in the backward pass
TRIAL_TOKENS = 8
TOLERANCE = 1e-2  # of the largest logit; half precision included


class Head:
    """Scores chosen positions of a causal language model, wrapped by PEFT or not."""

    def __init__(self, model: Any) -> None:
        self._model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._body: Any = getattr(base, base.base_model_prefix, None) if base.base_model_prefix else None
        self._head: Any = base.get_output_embeddings()
        self.direct = self._body is not None and self._body is not base and self._head is not None and self._agrees()

    def logits(self, ids: Any, mask: Any, chosen: Any) -> Any:
        """Logits [n, vocabulary] at the n true places of ``chosen`` [rows, length]; place t predicts token t + 1."""
        if self.direct:
            return self._head(self._hidden(ids, mask)[chosen])
        return self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits[chosen]

    def losses(self, ids: Any, mask: Any, labels: Any) -> Any:
        """Cross-entropy [n] in float32 of every label that is not ignored, row by row."""
        targets = labels[:, 1:]
        chosen = targets != -100
        wanted = targets[chosen]
        if not self.direct:
            full = torch.zeros_like(labels, dtype=torch.bool)
            full[:, :-1] = chosen
            return F.cross_entropy(self.logits(ids, mask, full).float(), wanted, reduction="none")
        hidden = self._hidden(ids, mask)[:, :-1][chosen]
        if len(hidden) <= CHUNK_POSITIONS:
            return self._chunk(hidden, wanted)
        parts = zip(hidden.split(CHUNK_POSITIONS), wanted.split(CHUNK_POSITIONS), strict=True)
        return torch.cat([checkpoint(self._chunk, one, two, use_reentrant=False) for one, two in parts])

    def _chunk(self, hidden: Any, wanted: Any) -> Any:
        return F.cross_entropy(self._head(hidden).float(), wanted, reduction="none")

    def _hidden(self, ids: Any, mask: Any) -> Any:
        return self._body(input_ids=ids, attention_mask=mask, use_cache=False)[0]

    def _agrees(self) -> bool:
        """Do body and head alone give the logits of the whole model?"""
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                size = int(self._head.weight.shape[0])
                ids = torch.arange(1, 1 + min(TRIAL_TOKENS, size - 1), device=self._model.device)[None]
                mask = torch.ones_like(ids)
                whole = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
                parts = self._head(self._hidden(ids, mask)).float()
        finally:
            self._model.train(was_training)
        if whole.shape != parts.shape:
            return False
        return bool((whole - parts).abs().max() <= TOLERANCE * whole.abs().max())
