"""Any bytes under any ending: rows or a DataProblem, nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.readers import Reading, scan
from orchestrator.data.sources import find_sources
from orchestrator.errors import DataProblem

PIECES = st.sampled_from(
    [b'"', b",", b"\n", b"\r", b"{", b"}", b"[", b"]", b":", b"\\", b"\xff", b"\xc3\xa9", b"\x00", b"a", b"1", b"\xff\xfe", b'{"a": "b"}']
)
ENDINGS = [".csv", ".tsv", ".json", ".jsonl", ".txt", ".zip", ".parquet", ".csv.gz"]


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=150, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join)))
def test_no_crash(ending: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d" + ending)
        path.write_bytes(content)
        try:
            for _ in scan(find_sources(path), Reading()):
                pass
        except DataProblem as error:
            assert str(path) in error.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=3), min_size=1, max_size=5),
    indent=st.sampled_from([None, 1]),
)
def test_a_list_streamed_is_the_list_loaded(rows: list[dict[str, object]], indent: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.json")
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
        try:
            found = [row.values for row in scan(find_sources(path), Reading())]  # type: ignore[union-attr]
        except DataProblem:
            pytest.fail("a legal list was refused")
        assert found == rows
