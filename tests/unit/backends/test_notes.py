"""What the create calls came to: asked, refused, made; and what is believed of a file that a crash cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from orchestrator.backends.skypilot import notes


def answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Server Error", response=response)


def called(path: Path, error: Exception | None = None, **made: str) -> notes.Made:
    try:
        with notes.create_call({notes.NOTES: str(path)}) as call:
            if error is not None:
                raise error
            if made:
                call.note("made", **made)
    except Exception as raised:
        assert raised is error
    return notes.read(path)


def test_what_was_made_is_known_with_its_key_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "ct.made"
    assert called(path, id="9001", key="s3cret") == notes.Made(keys={"9001": "s3cret"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert called(path, answer(404)).unclear == 0, "one was made, the second call was refused"


@pytest.mark.parametrize(
    ("error", "unclear"),
    [(answer(404), 0), (answer(429), 0), (answer(408), 1), (answer(500), 1), (requests.ConnectionError("reset"), 1), (KeyError("x"), 1)],
)
def test_only_an_answer_that_says_no_is_one(tmp_path: Path, error: Exception, unclear: int) -> None:
    assert called(tmp_path / "ct.made", error).unclear == unclear


def test_graphql_says_no_in_words(tmp_path: Path) -> None:
    runpod = pytest.importorskip("runpod.error", reason="pip install 'cloudtune[sky]'")
    full = runpod.QueryError("There are no longer any instances available with the requested specifications.")
    assert called(tmp_path / "one.made", full).unclear == 0
    assert called(tmp_path / "two.made", runpod.QueryError("Something went wrong.")).unclear == 1


def test_no_file_and_no_order_note_nothing(tmp_path: Path) -> None:
    with notes.create_call({}) as call:
        call.note("made", id="1")
    assert notes.read(tmp_path / "none.made") == notes.Made()


def test_a_line_that_was_cut_off_is_a_call_without_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "ct.made"
    path.write_text('{"fact": "asked"}\n{"fact": "ma')
    assert notes.read(path).unclear == 2
    path.write_text('{"fact": "another"}\n')
    assert notes.read(path).unclear == 1
