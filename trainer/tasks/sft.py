"""Supervised fine-tuning: prompt and completion, chat messages, or plain text, with the loss where the answer is.

Prompt and completion are tokenised apart, so the boundary is the one generation will meet. Must not need
``{% generation %}`` in a chat template: the assistant's spans are found by rendering the conversation turn by turn.
"""

from __future__ import annotations

from typing import Any

from trainer.contract import ConfigError, TrainerConfig
from trainer.data import IGNORED, Example, Row, text_field
from trainer.errors import DataError
from trainer.heads import Head

from . import padded


class SftTask:
    """Token form and loss of language-model rows."""

    def __init__(self, tokenizer: Any, config: TrainerConfig) -> None:
        self.tokenizer = tokenizer
        self.max_length = config.training.max_length
        self.train_on_prompt = config.training.train_on_prompt
        self.eos_id = tokenizer.eos_token_id
        self.pad_id = next((i for i in (tokenizer.pad_token_id, self.eos_id) if i is not None), 0)
        self._head: Head | None = None

    def head(self, model: Any) -> Head:
        """The head over ``model``, made once: it tries the model out."""
        if self._head is None:
            self._head = Head(model)
        return self._head

    def encode(self, row: Row) -> Example | None:
        given = [name for name in ("completion", "messages", "text") if name in row.fields]
        if len(given) != 1:
            raise DataError(f"{row.where}: expected one of prompt and completion, messages, or text; got {sorted(row.fields)}")
        if given[0] == "completion":
            prompt = text_field(row, "prompt", may_be_blank=True)
            example = self.answer(self.prompt_ids(prompt), self.completion_ids(text_field(row, "completion", may_be_blank=True)))
        elif given[0] == "messages":
            example = self._chat(row)
        else:
            ids = (self._start_ids(text_field(row, "text")) + self._eos())[: self.max_length]
            example = Example(ids=ids, labels=[IGNORED, *ids[1:]])
        return example if any(label != IGNORED for label in example.labels) else None

    def prompt_ids(self, prompt: str) -> list[int]:
        """A prompt's tokens; at least one, because the first token of an answer is predicted from something."""
        ids = self._start_ids(prompt)
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.eos_id
        return ids or [start if start is not None else self.pad_id]

    def completion_ids(self, completion: str) -> list[int]:
        """An answer's tokens, without the end; none for an empty answer."""
        return list(self.tokenizer(completion, add_special_tokens=False)["input_ids"]) if completion else []

    def answer(self, prompt: list[int], completion: list[int]) -> Example:
        """Prompt + completion + end. Too long: the prompt is cut from the left, so that the answer survives."""
        if not completion:
            return Example(ids=prompt[:1], labels=[IGNORED])
        end = (completion + self._eos())[: self.max_length - 1]
        prompt = self.cut_prompt(prompt, self.max_length - len(end))
        marked = [IGNORED, *prompt[1:]] if self.train_on_prompt else [IGNORED] * len(prompt)
        return Example(ids=prompt + end, labels=marked + end)

    def cut_prompt(self, prompt: list[int], room: int) -> list[int]:
        """The last tokens of a prompt that fit, with its begin-of-text token if it had one."""
        if len(prompt) <= room:
            return prompt
        starts = room > 1 and prompt[0] == self.tokenizer.bos_token_id
        return prompt[:1] + prompt[len(prompt) - room + 1 :] if starts else prompt[len(prompt) - room :]

    def messages(self, row: Row) -> list[dict[str, str]]:
        """The checked messages of a chat row."""
        given = row.fields["messages"]
        if not isinstance(given, list) or not given:
            raise DataError(f"{row.where}: 'messages' must be a list with one message or more")
        for number, message in enumerate(given):
            good = isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
            if not good:
                raise DataError(f"{row.where}: messages[{number}] needs 'role' and 'content' as strings")
        return given

    def render(self, messages: list[dict[str, str]], *, ask: bool = False) -> str:
        """A conversation as text; with ``ask``, up to where the assistant's next turn begins."""
        if not messages and not ask:
            return ""
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))

    def _chat(self, row: Row) -> Example:
        messages = self.messages(row)
        if not self.tokenizer.chat_template:
            raise ConfigError(f"{row.where}: holds messages, but the model's tokenizer has no chat template")
        try:
            text = self.render(messages)
            spans = [self._span(messages, turn, text) for turn, m in enumerate(messages) if m["role"] == "assistant"]
        except Exception as error:  # a template is a program of its author's, and may raise anything on a row it dislikes
            raise DataError(f"{row.where}: the chat template refuses this conversation: {error}") from error
        # The template writes its own begin-of-text token; letting the tokenizer add one would double it.
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"][: self.max_length], encoded["offset_mapping"]
        labels = [
            token if self.train_on_prompt or any(start <= at[0] < end for start, end in spans) else IGNORED
            for token, at in zip(ids, offsets, strict=False)
        ]
        return Example(ids=list(ids), labels=[IGNORED, *labels[1:]])

    def _span(self, messages: list[dict[str, str]], turn: int, text: str) -> tuple[int, int]:
        """Where in ``text`` an assistant's turn lies, its end-of-turn token included, the newline after it not."""
        upto = self.render(messages[: turn + 1])
        if not text.startswith(upto):  # the template rewrites earlier turns (drops their thinking): no loss on this one
            return (0, 0)
        asked = self.render(messages[:turn], ask=True)
        shared = zip(asked, upto, strict=False)
        start = next((i for i, (one, two) in enumerate(shared) if one != two), min(len(asked), len(upto)))
        return start, len(upto.rstrip("\n"))

    def _start_ids(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text)["input_ids"])
        if text and ids and ids[-1] == self.eos_id:  # some tokenizers close every text; the answer is still to come
            ids.pop()
        return ids

    def _eos(self) -> list[int]:
        return [] if self.eos_id is None else [self.eos_id]

    def collate(self, examples: list[Example]) -> dict[str, Any]:
        import torch

        ids, mask = padded(examples, self.pad_id)
        width = ids.shape[1]
        labels = torch.tensor([example.labels + [IGNORED] * (width - len(example.labels)) for example in examples])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def loss_items(self, batch: dict[str, Any]) -> Any:
        return (batch["labels"] != IGNORED).sum()

    def summed_loss(self, model: Any, batch: dict[str, Any]) -> Any:
        return self.head(model).losses(batch["input_ids"], batch["attention_mask"], batch["labels"]).sum()
