"""``cloudtune check`` as a person types it."""

from __future__ import annotations

import json

from tests.cli.conftest import Desk


def test_a_good_job(desk: Desk) -> None:
    code, out, err = desk.run("check", "-o", "json")
    found = json.loads(out)
    assert code == 0 and found["ok"] and found["rows"] == 50 and found["labels"] == {"negative": 25, "positive": 25}, err
    assert any("copies of earlier ones" in line for line in found["reports"])


def test_faults_are_counted_named_and_dropped(desk: Desk) -> None:
    with open(desk.job / "data.csv", "a", encoding="utf-8") as handle:
        handle.write("only one cell\nx,\ny,\n")
    code, out, err = desk.run("check", "--offline")
    assert code == 2 and "data.csv:52: 1 cells" in out and "2 × empty" in out and "data.csv:53" in out and "Traceback" not in err
    code, out, _ = desk.run("check", "--offline", "--drop-bad-rows")
    dropped = [json.loads(line) for line in (desk.job / "dropped.jsonl").read_text().splitlines()]
    assert code == 0 and [(row["line"], row["kind"]) for row in dropped] == [(52, "wrong number of cells"), (53, "empty"), (54, "empty")]


def test_one_label_and_mixed_formats(desk: Desk) -> None:
    (desk.job / "data.csv").write_text("text,label\na,x\nb,x\n")
    code, out, _ = desk.run("check", "--offline", "--drop-bad-rows")
    assert code == 2 and "fewer than two labels" in out
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, {"prompt": "q", "completion": "a"}]
    (desk.job / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (desk.job / "cloudtune.yaml").write_text("model: m\ndataset: d.jsonl\n")
    code, out, _ = desk.run("check", "--offline")
    assert code == 2 and "1 × mixed formats" in out and "d.jsonl:2" in out
