"""Kaggle's hours left, from a command called kaggle that answers as the real one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends.offers.kaggle import gpu_hours_left, read_quota

ANSWER = """[
  {"resource": "GPU", "used": "2.50h", "remaining": "27.50h", "total": "30.00h", "refreshAt": "2026-11-28T00:00:00+00:00"},
  {"resource": "TPU", "used": "0.00h", "remaining": "20.00h", "total": "20.00h", "refreshAt": "2026-11-28T00:00:00+00:00"}
]"""


def test_the_answer() -> None:
    assert read_quota(ANSWER) == 27.5 and read_quota(f"Warning: outdated version\n{ANSWER}") == 27.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No quota information available",
        "[]",
        "[1]",
        '[{"resource": "GPU"}]',
        '[{"resource": "GPU", "remaining": "much"}]',
        '[{"resource": "GPU", "remaining": 3}]',
    ],
)
def test_another_form_is_unknown_and_never_zero(text: str) -> None:
    assert read_quota(text) is None


def test_asked_only_where_there_is_a_command_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_hours_left() == (None, "Kaggle's command is not installed (pip install kaggle)")
    tool = tmp_path / "kaggle"
    tool.write_text(f"#!/bin/sh\n[ \"$*\" = 'quota --format json' ] && printf '%s' '{ANSWER}'\n")
    tool.chmod(0o700)
    assert gpu_hours_left() == (None, "there is no Kaggle token on this machine")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    assert gpu_hours_left() == (27.5, "")
    tool.write_text("#!/bin/sh\necho 401 >&2; exit 1\n")
    assert gpu_hours_left() == (None, "Kaggle's command refuses: 401")
