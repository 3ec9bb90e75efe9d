"""Files in odd but legal shapes are read; hostile ones are named, in bounded memory."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from orchestrator.data.prepare import Prepared, prepare
from orchestrator.data.readers import Reading, read_rows, scan
from orchestrator.data.rows import BadRow
from orchestrator.data.sources import find_sources
from orchestrator.errors import DataProblem
from orchestrator.spec.parse import load_job

TEXTS = ["Elcoteq SE 's sales in H\xe4meenlinna rose", "Profit fell, it said", "No change was seen", "Net sales rose to EUR 5 mn"]


def job_of(folder: Path, task: str, **dataset: object) -> Prepared:
    (folder / "cloudtune.yaml").write_text(json.dumps({"model": "m", "task": task, "dataset": dataset}))
    return prepare(load_job(folder / "cloudtune.yaml", environment={}))


@pytest.mark.parametrize("task", ["classification", "sft"])
def test_the_financial_news_file_needs_no_mapping(tmp_path: Path, task: str) -> None:
    """No header, not UTF-8: kaggle.com/datasets/ankurzing/sentiment-analysis-for-financial-news."""
    lines = [f'{("neutral", "negative", "positive")[i % 3]},"{TEXTS[i % 4]} {i}"' for i in range(40)]
    (tmp_path / "all-data.csv").write_bytes("\r\n".join(lines).encode("latin-1"))
    found = job_of(tmp_path, task, path="all-data.csv", eval_fraction=0.2)
    assert found.labels == ("negative", "neutral", "positive") and len(found.train) + len(found.held_out) == 40
    assert any("H\xe4meenlinna" in str(row) for row in found.train)


def test_the_lmsys_file_needs_no_mapping(tmp_path: Path) -> None:
    """JSON lists in cells, null answers, half characters, one-hot winners."""
    head = "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
    cells = ['"[""Hi"",""and?""]"', '"[""one"",null]"', '"[""half \\ud83d here"",""x""]"']
    rows = [f"{i},gpt-4,llama," + ",".join(cells) + "," + ("1,0,0", "0,1,0", "0,0,1")[i % 3] for i in range(12)]
    (tmp_path / "train.csv").write_text(head + "\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("id,prompt,response_a,response_b\n1,a,b,c\n")
    found = job_of(tmp_path, "classification", path=".", eval_fraction=0)
    assert found.labels == ("a", "b", "tie")
    assert found.train[0]["text"] == "Prompt: Hi\n\nand?\n\nResponse A: one\n\n\n\nResponse B: half \ufffd here\n\nx"


def test_compressed_and_packed(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"prompt": f"q{i}", "completion": "a"}) + "\n" for i in range(3))
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as handle:
        handle.write(rows)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("data/train.jsonl", rows)
        archive.writestr("README.md", "read me")
    for name in ("a.jsonl.gz", "b.zip"):
        assert [row.values["prompt"] for row in read_rows(tmp_path / name)] == ["q0", "q1", "q2"]


def test_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"prompt": ["a", "b"], "completion": ["c", "d"]}), tmp_path / "d.parquet")
    assert [row.values for row in read_rows(tmp_path / "d.parquet")] == [
        {"prompt": "a", "completion": "c"},
        {"prompt": "b", "completion": "d"},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("utf16.csv", "prompt,completion\na,b\n".encode("utf-16")),
        ("mark.jsonl", b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\n'),
        ("lines.json", b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": "b"}\n'),
        ("object.json", b'{"data": [{"prompt": "a", "completion": "b"}]}'),
        ("excel.csv", b"sep=;\nprompt;completion\na;b\n"),
        ("semicolon.csv", b"prompt;completion\na;b\n"),
        ("backslash.csv", b'prompt,completion\n"say \\"hi\\", twice",b\n'),
        ("crlf.csv", b'prompt,completion\r\n"two\r\nlines",b\r\n'),
        ("array.json", b'[ {"prompt": "]},{\\"", "completion": "b"} ,\n {"prompt": "a", "completion": "b"}]\n'),
        ("blank.jsonl", b'\n{"prompt": "a", "completion": "b"}\n\n'),
    ],
)
def test_odd_but_legal(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    rows = list(read_rows(tmp_path / name))
    assert rows and all(set(row.values) == {"prompt", "completion"} for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pointer.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "Git LFS pointer"),
        ("login.csv", b"\n<!DOCTYPE html><html>Sign in", "web page"),
        ("excel.csv", b"PK\x03\x04" + b"x" * 90, "a zip or Excel file"),
        ("not.parquet", b"a,b\n1,2\n", "not a Parquet file"),
        ("deep.json", b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        ("deep.jsonl", b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        ("cut.json", b'[{"prompt": "a"}, {"pro', r"cut\.json:1: not JSON: the list never ends"),
        ("comma.json", b'[{"prompt": "a"},\n{"prompt": "b"},\n]', r"comma\.json:3: not JSON"),
        ("strings.json", b'["a"]', "expected an object, got str"),
        ("nul.jsonl", b'{"prompt": "a"}\n\x00\x00\x00\n', r"nul\.jsonl:2: NUL bytes"),
        ("nul.csv", b"prompt,completion\na,b\x00\n", r"nul\.csv:2: NUL bytes"),
        ("bad.jsonl", b'{"prompt": "\xff"}\n', "not UTF-8"),
        ("long.jsonl", b'{"prompt": "' + b"a" * (17 << 20) + b'"}\n', r"long\.jsonl:1: a row of more than 16 MiB"),
        ("long.csv", b"prompt,completion\n" + b"a" * (17 << 20) + b",b\n", r"long\.csv:2: a line of more than 16 MiB"),
        ("utf16.csv", "prompt,completion\na,b\n".encode("utf-16-le") * 9, "UTF-16 without its mark"),
    ],
)
def test_hostile(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataProblem, match=message):
        list(read_rows(tmp_path / name))


def test_archives_that_climb_and_bombs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as archive:
        archive.writestr("../../etc/train.csv", "a,b\n")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", b"\n" * (65 << 20))
    with pytest.raises(DataProblem, match="climbs out"):
        find_sources(tmp_path / "climb.zip")
    with pytest.raises(DataProblem, match="unpacks to 65 MiB"):
        find_sources(tmp_path / "bomb.zip")


def test_a_link_to_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(DataProblem, match="leads out of the dataset's folder"):
        find_sources(tmp_path / "data")


def test_reading_goes_on_after_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('prompt,completion\na,b\n"x" y,b\nc\nd,e\n')
    found = list(scan(find_sources(tmp_path / "d.csv"), Reading()))
    assert [(type(row) is BadRow, row.line) for row in found] == [(False, 2), (True, 3), (True, 4), (False, 5)]
