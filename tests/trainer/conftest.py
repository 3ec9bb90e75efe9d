"""Makes the fixtures of ``trainer_rig`` known to the tests beside it."""

from __future__ import annotations

from trainer_rig import box, tiny_model, tiny_tokenizer, undisturbed

__all__ = ["box", "tiny_model", "tiny_tokenizer", "undisturbed"]
