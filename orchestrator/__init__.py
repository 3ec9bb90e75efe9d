"""The laptop side of cloudtune. Never imports torch, transformers or peft, not even lazily."""
