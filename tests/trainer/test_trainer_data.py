"""What of a row carries loss, how it is cut, and how a bad row is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.contract import ConfigError, LoopConfig, TrainerConfig
from trainer.data import IGNORED, Example, Row, encode_rows, length_batches, read_rows
from trainer.errors import DataError
from trainer.sampler import Batches
from trainer.tasks.classification import ClassificationTask
from trainer.tasks.sft import SftTask


def task(tokenizer: Any, **loop: Any) -> SftTask:
    config = TrainerConfig(model="m", train_file="t", out_dir="o", training=LoopConfig(**loop))
    return SftTask(tokenizer, config)


def encode(made: SftTask, **fields: Any) -> Example | None:
    return made.encode(Row(fields=fields, where="rows.jsonl:1"))


def marked(tokenizer: Any, example: Example | None) -> str:
    """The words that carry loss."""
    assert example is not None
    assert all(label in (IGNORED, token) for label, token in zip(example.labels, example.ids, strict=True))
    return " ".join(tokenizer.convert_ids_to_tokens([label for label in example.labels if label != IGNORED]))


def words(tokenizer: Any, example: Example | None) -> str:
    assert example is not None
    return " ".join(tokenizer.convert_ids_to_tokens(example.ids))


def test_loss_is_on_the_completion_and_the_end(tiny_tokenizer: Any) -> None:
    example = encode(task(tiny_tokenizer), prompt="review a film sentiment", completion=" positive")
    assert words(tiny_tokenizer, example) == "<s> review a film sentiment positive </s>"
    assert marked(tiny_tokenizer, example) == "positive </s>"
    whole = encode(task(tiny_tokenizer, train_on_prompt=True), prompt="review a film sentiment", completion=" positive")
    assert marked(tiny_tokenizer, whole) == "review a film sentiment positive </s>"


def test_a_long_prompt_is_cut_from_the_left(tiny_tokenizer: Any) -> None:
    example = encode(task(tiny_tokenizer, max_length=6), prompt="review a film the plot was sentiment", completion=" positive")
    assert words(tiny_tokenizer, example) == "<s> plot was sentiment positive </s>"


def test_a_long_completion_keeps_one_token_before_it(tiny_tokenizer: Any) -> None:
    example = encode(task(tiny_tokenizer, max_length=4), prompt="review", completion="the film was not very good")
    assert words(tiny_tokenizer, example) == "review the film was"
    assert marked(tiny_tokenizer, example) == "the film was"


def test_plain_text(tiny_tokenizer: Any) -> None:
    example = encode(task(tiny_tokenizer), text="the film was good")
    assert words(tiny_tokenizer, example) == "<s> the film was good </s>"
    assert marked(tiny_tokenizer, example) == "the film was good </s>"


CHAT = [
    {"role": "user", "content": "the film"},
    {"role": "assistant", "content": "was good"},
    {"role": "user", "content": "the plot"},
    {"role": "assistant", "content": "was dull"},
]


def test_chat_loss_is_on_the_assistant_turns(tiny_tokenizer: Any) -> None:
    example = encode(task(tiny_tokenizer), messages=CHAT)
    first, second = "<|user|> the film </s> <|assistant|> was good </s>", "<|user|> the plot </s> <|assistant|> was dull </s>"
    assert words(tiny_tokenizer, example) == f"{first} {second}"  # and no second begin-of-text
    assert marked(tiny_tokenizer, example) == "was good </s> was dull </s>"


def test_chat_without_an_answer_is_skipped_and_a_tokenizer_without_template_refused(tiny_tokenizer: Any) -> None:
    assert encode(task(tiny_tokenizer), messages=CHAT[:1]) is None
    template, tiny_tokenizer.chat_template = tiny_tokenizer.chat_template, None
    try:
        with pytest.raises(ConfigError, match="no chat template"):
            encode(task(tiny_tokenizer), messages=CHAT)
    finally:
        tiny_tokenizer.chat_template = template


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "x"}, "rows.jsonl:1: expected one of"),
        ({"prompt": "x", "completion": 3}, "rows.jsonl:1: 'completion' must be a string, got int"),
        ({"prompt": "x", "completion": "y", "text": "z"}, "rows.jsonl:1: expected one of"),
        ({"messages": []}, "rows.jsonl:1: 'messages' must be a list"),
        ({"messages": [{"role": "user"}]}, r"rows.jsonl:1: messages\[0\] needs"),
        ({"text": "  "}, "rows.jsonl:1: 'text' is empty"),
    ],
)
def test_bad_rows_are_named(tiny_tokenizer: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode(task(tiny_tokenizer), **fields)


def test_files_are_checked_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n\nnot json\n')
    with pytest.raises(DataError, match=r"rows.jsonl:3: not JSON"):
        read_rows(path)
    path.write_text("[1]\n")
    with pytest.raises(DataError, match=r"rows.jsonl:1: expected an object, got list"):
        read_rows(path)
    path.write_text("")
    with pytest.raises(DataError, match="no rows"):
        read_rows(path)
    with pytest.raises(DataError, match="No such file"):
        read_rows(tmp_path / "missing.jsonl")


def test_rows_without_loss_are_reported_and_none_left_is_an_error(tiny_tokenizer: Any) -> None:
    empty = Row(fields={"prompt": "a", "completion": ""}, where="rows.jsonl:2")
    good = Row(fields={"prompt": "a", "completion": "good"}, where="rows.jsonl:1")
    notices: list[str] = []
    made = task(tiny_tokenizer)
    assert len(encode_rows([good, empty], made.encode, notices.append)) == 1
    assert notices == ["1 of 2 rows have nothing to learn from and are skipped: rows.jsonl:2"]
    with pytest.raises(DataError, match="no row has anything to learn from"):
        encode_rows([empty], made.encode, notices.append)


def test_classification_rows(tiny_tokenizer: Any) -> None:
    config = TrainerConfig(model="m", train_file="t", out_dir="o", task="classification", labels=("up", "down"))
    made = ClassificationTask(tiny_tokenizer, config)
    example = made.encode(Row(fields={"text": "good film", "label": "down"}, where="r:1"))
    assert example is not None
    assert example.labels == [1]
    with pytest.raises(DataError, match="r:1: label 'sideways' is not one of up, down"):
        made.encode(Row(fields={"text": "good", "label": "sideways"}, where="r:1"))


def test_batches_do_not_depend_on_how_a_step_is_split() -> None:
    lengths = [(7 * i) % 50 + 1 for i in range(101)]
    whole = Batches(lengths, rows_a_pass=8, passes=2, seed=1, grouped=True)
    split = Batches(lengths, rows_a_pass=1, passes=16, seed=1, grouped=True)
    for epoch in (0, 1):
        assert whole.order(epoch) == split.order(epoch)
        assert sorted(whole.order(epoch)) == list(range(101))
    assert whole.order(0) != whole.order(1)
    assert whole.steps_an_epoch == split.steps_an_epoch == 7
    assert max(lengths) in [lengths[row] for row in whole.order(0)[:16]]
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in whole)
    assert padded < 1.15 * sum(lengths)


def test_evaluation_batches_hold_every_row_once_and_their_bound() -> None:
    lengths = [5, 900, 30, 30, 31, 1, 400]
    batches = length_batches(lengths, 400)
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 400 for batch in batches)
