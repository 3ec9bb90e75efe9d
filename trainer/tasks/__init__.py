"""The tasks a config may name. A task turns rows into token lists and token lists into a loss and scores.

Must not know about checkpoints, schedules or files.
"""

from __future__ import annotations

from typing import Any, Protocol

from trainer.data import Example, Row


class Task(Protocol):
    """What the loop and the evaluation need of a task."""

    def encode(self, row: Row) -> Example | None:
        """Token form of one row; None when nothing in it carries loss. Raises DataError for a row of the wrong shape."""

    def collate(self, examples: list[Example]) -> dict[str, Any]:
        """Padded tensors: input_ids, attention_mask, labels."""

    def loss_items(self, batch: dict[str, Any]) -> Any:
        """How many terms the loss of a batch sums, as a tensor."""

    def summed_loss(self, model: Any, batch: dict[str, Any]) -> Any:
        """The loss of a batch as a sum over its items, in float32."""


def padded(examples: list[Example], pad_id: int) -> tuple[Any, Any]:
    """ids and mask [rows, longest], padded on the right."""
    import torch

    width = max(len(example.ids) for example in examples)
    ids = torch.tensor([example.ids + [pad_id] * (width - len(example.ids)) for example in examples])
    mask = torch.tensor([[1] * len(example.ids) + [0] * (width - len(example.ids)) for example in examples])
    return ids, mask
