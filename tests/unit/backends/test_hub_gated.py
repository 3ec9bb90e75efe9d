"""A gated model is an error with the page to visit."""

from __future__ import annotations

from orchestrator.backends.hub import gated


def test_the_error_names_the_page_to_visit() -> None:
    error = gated("meta-llama/Llama-9-1B")
    assert "is gated" in str(error) and "/meta-llama/Llama-9-1B, then: hf auth login; then this command again" in str(error.hint)
