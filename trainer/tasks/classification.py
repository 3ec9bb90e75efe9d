"""Sequence classification: one label a text, on a new ``score`` head. The class index is the place in config.labels."""

from __future__ import annotations

from typing import Any

from trainer.contract import TrainerConfig
from trainer.data import Example, Row, label_field, text_field

from . import padded


class ClassificationTask:
    """Token form and loss of labelled texts."""

    def __init__(self, tokenizer: Any, config: TrainerConfig) -> None:
        self.tokenizer = tokenizer
        self.max_length = config.training.max_length
        self.labels = config.labels
        self.pad_id = tokenizer.pad_token_id

    def encode(self, row: Row) -> Example | None:
        label = label_field(row, self.labels)
        ids = self.tokenizer(text_field(row, "text"), truncation=True, max_length=self.max_length)["input_ids"]
        return Example(ids=list(ids), labels=[self.labels.index(label)]) if ids else None

    def collate(self, examples: list[Example]) -> dict[str, Any]:
        import torch

        ids, mask = padded(examples, self.pad_id)
        labels = torch.tensor([example.labels[0] for example in examples])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def loss_items(self, batch: dict[str, Any]) -> Any:
        return (batch["labels"] >= 0).sum()

    def logits(self, model: Any, batch: dict[str, Any]) -> Any:
        """Class logits [rows, classes] in float32."""
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits.float()

    def summed_loss(self, model: Any, batch: dict[str, Any]) -> Any:
        import torch

        return torch.nn.functional.cross_entropy(self.logits(model, batch), batch["labels"], reduction="sum")
