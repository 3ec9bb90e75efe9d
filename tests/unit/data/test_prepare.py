"""Datasets to canonical rows: formats, labels, splits, and a clear error with file and line for each fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data.prepare import Prepared, prepare
from orchestrator.data.template import Template
from orchestrator.errors import DataProblem, UsageProblem
from orchestrator.spec.parse import load_job


def prepared(tmp_path: Path, content: str | bytes, name: str = "d.csv", **dataset: Any) -> Prepared:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    task = dataset.pop("task", "sft")
    spec = {"model": "m", "task": task, "dataset": {"path": name, **dataset}}
    (tmp_path / "cloudtune.yaml").write_text(json.dumps(spec))
    return prepare(load_job(tmp_path / "cloudtune.yaml", environment={}))


SENTIMENT = "text,label\n" + "".join(f"text {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))


def test_labelled_rows_become_prompts(tmp_path: Path) -> None:
    found = prepared(tmp_path, SENTIMENT, prompt="T: {text}\nL:", label="label", eval_fraction=0.25)
    assert (len(found.train), len(found.held_out), found.labels) == (30, 10, ("bad", "good"))
    assert {"prompt": "T: text 0\nL:", "label": "bad", "completion": " bad"} in (*found.train, *found.held_out)
    assert sorted(r["label"] for r in found.held_out) == ["bad"] * 5 + ["good"] * 5, "the split keeps the shares"
    assert found == prepared(tmp_path, SENTIMENT, prompt="T: {text}\nL:", label="label", eval_fraction=0.25), "the seed decides"


def test_label_words(tmp_path: Path) -> None:
    rows = "text,label\na,0\nb,1\nc,0\nd,1\n"
    found = prepared(tmp_path, rows, prompt="{text}", label="label", labels={0: "no", 1: "yes"}, eval_fraction=0)
    assert [r["completion"] for r in found.train] == [" no", " yes", " no", " yes"] and found.labels == ("no", "yes")
    with pytest.raises(DataProblem, match=r"d\.csv:3: label '1' is not in dataset\.labels"):
        prepared(tmp_path, rows, prompt="{text}", label="label", labels=["0", "2"])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("m.jsonl", json.dumps({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}), "messages"),
        ("p.json", json.dumps([{"question": "q", "answer": "a"}]), "completion"),
        ("a.jsonl", json.dumps({"instruction": "i", "input": "", "output": "o"}), "completion"),
        ("t.tsv", "text\nhello there\n", "text"),
    ],
)
def test_formats_are_recognised(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert expected in prepared(tmp_path, content, name, eval_fraction=0).train[0]


@pytest.mark.parametrize(
    ("content", "dataset", "message"),
    [
        ("", {}, "is empty"),
        ("text,label\n", {"task": "classification"}, "has no rows"),
        ("text\nx\n", {"task": "classification"}, "no column 'label'"),
        ("text,label\nx,a\ny\n", {"task": "classification"}, r"d\.csv:3: 1 cells, but the header names 2"),
        ("text,label\nx,a\ny,\n", {"task": "classification"}, r"d\.csv:3: the label is empty"),
        ("text,label\nx,a\ny,a\n", {"task": "classification"}, "every training row has the label 'a'"),
        ("text,label\n,a\ny,b\n", {"task": "classification"}, r"d\.csv:2: the text is empty"),
        ("a,b\n1,2\n", {}, "do not say what is asked"),
        ("a,b\n1,2\n", {"prompt": "{c}", "completion": "{a}"}, r"no column 'c' \(dataset\.prompt\)"),
        ("a,b\n1, \n", {"prompt": "{a}", "completion": "{b}"}, r"d\.csv:2: the answer is empty"),
        ("a,a\n1,2\n", {}, "repeated column name"),
        (b"text,label\n\xe9,a\n", {"task": "classification"}, "not UTF-8"),
        ('text,label\n"x,a\n', {"task": "classification"}, r"d\.csv:2: unexpected end of data"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str | bytes, dataset: dict[str, Any], message: str) -> None:
    with pytest.raises((DataProblem, UsageProblem), match=message):
        prepared(tmp_path, content, **dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"messages": []}', "is not a list of turns"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "no assistant turn"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "got role 'robot'"),
        ('{"messages": ["x"]}', "a turn is a str"),
        ('{"text": "a"}\n{"text"', r"d\.jsonl:2: not JSON"),
        ('{"text": "a"}\n3', r"d\.jsonl:2: expected an object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_jsonl(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataProblem, match=message):
        prepared(tmp_path, content, "d.jsonl")


def test_missing_file_and_unreadable_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataProblem, match="does not exist"):
        prepared(tmp_path, "", "d.csv", eval_fraction=0, path="other.csv")
    with pytest.raises(DataProblem, match="is not read yet"):
        prepared(tmp_path, "x", "d.xlsx")


def test_label_never_seen_in_training(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("text,label\nx,c\n")
    with pytest.raises(DataProblem, match="label 'c' is in the held-out rows but never in training"):
        prepared(tmp_path, SENTIMENT, task="classification", eval_path="e.csv")


def test_a_labels_only_row_stays_in_training(tmp_path: Path) -> None:
    found = prepared(tmp_path, SENTIMENT + "odd,rare\n", task="classification", eval_fraction=0.5)
    assert "rare" in {r["label"] for r in found.train}


@pytest.mark.parametrize("text", ["{a.b}", "{a[0]}", "{}", "{a!r}", "{a:>10}", "{", "{a.__class__}"])
def test_templates_hold_names_only(text: str) -> None:
    with pytest.raises(UsageProblem):
        Template(text, "dataset.prompt")


def test_template_braces() -> None:
    assert Template("{{{a}}}", "k").fill({"a": 1}, "p") == "{1}"


def test_rows_left_out_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(6)]
    text = "".join(json.dumps(row) + "\n" for row in rows[:3]) + "{not json\n" + "".join(json.dumps(row) + "\n" for row in rows[3:])
    with pytest.raises(DataProblem, match=r"d\.jsonl:4"):
        prepared(tmp_path, text, "d.jsonl", eval_fraction=0)
    found = prepared(tmp_path, text, "d.jsonl", eval_fraction=0, drop_bad_rows=True)
    assert len(found.train) == 6 and "1 left out" in found.sentence and "d.jsonl:4" in found.sentence
