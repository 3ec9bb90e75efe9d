"""The benchmark on the project's own copy of the measurements: targets hold, and outcomes are never read to predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.estimate_accuracy import main, predict, report
from benchmarks.measurements import OUTCOME_COLUMNS, SkipRow, parse_lengths, read_rows

CSV = Path(__file__).parents[3] / "benchmarks/data/measurements.csv"
ROWS = read_rows(CSV)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return report(ROWS)


def test_memory_targets(result: dict[str, Any]) -> None:
    core = result["core"]
    assert core["all"]["rows"] >= 90
    assert core["all"]["median_pct"] <= 3.0
    assert core["all"]["p90_pct"] <= 10.0
    assert core["QLoRA"]["median_pct"] <= 5.0 and core["QLoRA"]["p90_pct"] <= 13.0
    assert core["all"]["inside_share"] >= 0.90
    assert core["all"]["widest_half_band_pct"] <= 15.0
    assert result["unseen"]["all"]["median_pct"] <= 10.0
    assert result["unseen"]["all"]["inside_share"] >= 0.85


def test_nothing_that_did_not_fit_is_called_fits_and_few_are_tight(result: dict[str, Any]) -> None:
    assert result["verdicts"]["core"]["wrong_fits"] == []
    assert "fits" not in result["verdicts"]["all"]["oom_rows_called"]
    assert result["verdicts"]["core"]["tight_share"] <= 0.15 and result["verdicts"]["all"]["tight_share"] <= 0.15


def test_speed_targets(result: dict[str, Any]) -> None:
    speed = result["speed"]
    assert speed["median_pct"] <= 12 and speed["p90_pct"] <= 50
    assert speed["pairs_right"] >= 0.9 * speed["pairs"]


def test_predictions_do_not_depend_on_what_was_measured() -> None:
    for row in ROWS[::7]:
        other = {key: ("99999" if key in OUTCOME_COLUMNS else value) for key, value in row.items()}
        assert predict(row).as_json() == predict(other).as_json()


def test_predict_prints_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CSV), "--predict"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(ROWS)
    for line in lines:
        assert set(line) == {"id", "low", "expected", "high", "verdict_by_gpu", "tokens_per_s", "skipped"}
        assert (line["skipped"] is None) == (line["expected"] is not None)


def test_a_missing_file_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    assert main([str(other), "--json"]) == 2
    assert "columns are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "longest", "kind"),
    [
        ("exactly 512", 512, "fixed"),
        ("8192 exactly (no padding, fully filled)", 8192, "fixed"),
        ("packed 2048 (dolly 15k)", 2048, "fixed"),
        ("2048 (full context)", 2048, "fixed"),
        ("dummy data, exactly 24576", 24576, "fixed"),
        ("sample_packing to 2048 (multipack)", 2048, "fixed"),
        ("alpaca; longest sample 1304 tok forced as first batch (=> peak), other batches dynamic pad", 1304, "fixed"),
        ("max_seq_length 512, openassistant-guanaco", 512, "capped"),
        ("Alpaca2k truncated at 512, dynamic pad per micro-batch", 512, "capped"),
        ("max_seq_length=4096/2048, packing=unset/False (dataset-dependent lengths)", 4096, "varying"),
        ("cls-fudan-news-zh truncated at max_length=1024 (dataset tokens 3234+-2547)", 1024, "varying"),
        ("1024", 1024, "fixed"),
    ],
)
def test_lengths_are_read_in_all_their_spellings(text: str, longest: int, kind: str) -> None:
    found = parse_lengths(text)
    assert (found.longest, found.kind) == (longest, kind)


@pytest.mark.parametrize(
    "text", ["", "not stated for this attempt", "MAX padded length that fits: 932", "max model context, data not necessarily full"]
)
def test_lengths_that_are_not_stated_are_skipped(text: str) -> None:
    with pytest.raises(SkipRow):
        parse_lengths(text)


@pytest.mark.parametrize("column", sorted(set(ROWS[0]) - {"id"}))
def test_a_blank_or_silly_column_is_a_reason_and_never_a_crash(column: str) -> None:
    for value in ("", "???", "-1", "0"):
        for row in ROWS[::40]:
            made = predict({**row, column: value})
            assert made.skipped or made.expected is not None
