"""A file's hash is remembered, and never that of other content."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from orchestrator.backends import content, examine
from orchestrator.backends.content import Contents
from orchestrator.data.readers import find_sources
from orchestrator.spec.parse import load_job


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "SETTLED_NS", 50_000_000)


def settled(path: Path, text: str) -> None:
    path.write_text(text)
    time.sleep(0.1)


def test_a_hash_is_remembered_and_a_large_file_is_not_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.jsonl"
    settled(path, "one")
    monkeypatch.setattr(content, "SMALL_BYTES", 1)
    assert Contents().of([path], quickly=True) is None
    assert Contents().of([path]) == {path: hashlib.sha256(b"one").hexdigest()}
    assert Contents().of([path], quickly=True) == {path: hashlib.sha256(b"one").hexdigest()}


def test_the_same_size_and_times_set_back_are_not_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    settled(path, "one")
    before = path.stat()
    assert Contents().of([path]) == {path: hashlib.sha256(b"one").hexdigest()}
    for text in ("two", "six"):
        with open(path, "r+") as handle:  # in place: the same file, the same size
            handle.write(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
        assert Contents().of([path]) == {path: hashlib.sha256(text.encode()).hexdigest()}


def test_what_just_changed_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SETTLED_NS", 10**12)
    path = tmp_path / "d.jsonl"
    path.write_text("one")
    Contents().of([path])
    assert not Contents()._known


def test_a_damaged_memory_costs_time_only(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    settled(path, "one")
    place = tmp_path / "cache" / "cloudtune" / "contents.json"
    place.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"a": 3}', '{"a": [[1], "b"], "c": null}', "\udc80"):
        place.write_text(text, errors="surrogateescape")
        assert Contents().of([path]) == {path: hashlib.sha256(b"one").hexdigest()}


def test_a_report_is_that_of_the_content(tmp_path: Path) -> None:
    """A row in the middle of a file is changed, its size and its time of writing being kept: it is checked anew."""
    rows = [f'{{"prompt": "question {number:05}", "completion": "answer"}}' for number in range(60_000)]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(rows) + "\n")
    (tmp_path / "cloudtune.yaml").write_text("model: m\ndataset: d.jsonl\n")
    job = load_job(tmp_path / "cloudtune.yaml", environment={})
    assert len(find_sources(path)) == 1 and path.stat().st_size > 3 << 20
    before = path.stat()
    assert examine.examine(job, offline=True).errors == {}
    assert examine.kept_report(job, offline=True) is not None
    rows[30_000] = '{"prompt": "question 30000", "completion": "      "}'
    with open(path, "r+") as handle:
        handle.write("\n".join(rows) + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert examine.kept_report(job, offline=True) is None
    assert examine.examine(job, offline=True).errors == {"empty": 1}


def test_a_report_on_a_file_that_changed_meanwhile_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "q", "completion": "a"}\n' * 3)
    (tmp_path / "cloudtune.yaml").write_text("model: m\ndataset: d.jsonl\n")
    job = load_job(tmp_path / "cloudtune.yaml", environment={})
    text = path.read_text()

    def meddle(count: int) -> None:
        path.write_text(text + "\n")
        path.write_text(text)

    examine.examine(job, offline=True, on_bytes=meddle)
    assert examine.kept_report(job, offline=True) is None
