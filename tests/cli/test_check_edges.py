"""``cloudtune check`` against what a person or an attacker leaves beside the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Desk

ROWS = "".join(json.dumps({"prompt": f"film {i}", "completion": "good"}) + "\n" for i in range(6))
BAD = '{"prompt": "film"}\n'


def write(desk: Desk, files: dict[str, str], task: str = "sft", model: str = "nobody/nothing", **dataset: Any) -> None:
    for name, content in files.items():
        Path(desk.job, name).parent.mkdir(parents=True, exist_ok=True)
        Path(desk.job, name).write_text(content, encoding="utf-8")
    spec = {"model": model, "task": task, "dataset": {"path": next(iter(files)), **dataset}}
    Path(desk.job, "cloudtune.yaml").write_text(json.dumps(spec), encoding="utf-8")


def test_the_columns_of_wsdm_need_no_mapping(desk: Desk) -> None:
    rows = "id,prompt,response_a,response_b,winner,model_a,model_b,language\n"
    write(desk, {"train.csv": rows + "1,hi,yes,no,model_a,x,y,English\n2,ho,yes,no,model_b,x,y,English\n"}, task="classification")
    code, out, err = desk.run("check", "--offline", "-o", "json")
    assert code == 0 and json.loads(out)["labels"] == {"a": 1, "b": 1}, err


@pytest.mark.parametrize(
    ("held_out", "drops", "said"),
    [("\n", [], "no held-out row"), ('{"prompt": "q", "completion": ""}\n', ["--drop-bad-rows"], "no held-out row")],
)
def test_held_out_rows_that_cannot_be_used(desk: Desk, held_out: str, drops: list[str], said: str) -> None:
    write(desk, {"d.jsonl": ROWS, "e.jsonl": held_out}, eval_path="e.jsonl")
    code, out, _ = desk.run("check", "--offline", *drops)
    assert code == 2 and said in out


def test_a_held_out_label_that_is_never_trained(desk: Desk) -> None:
    files = {"d.csv": "text,label\na,x\nb,y\n", "e.csv": "text,label\nc,x\nd,z\n"}
    write(desk, files, task="classification", eval_path="e.csv")
    code, out, _ = desk.run("check", "--offline", "--drop-bad-rows")
    assert code == 2 and "e.csv:3: label 'z' is in the held-out rows but never in training" in out


def test_the_list_of_dropped_rows_is_no_data_and_overwrites_none(desk: Desk) -> None:
    write(desk, {"data/d.jsonl": ROWS + BAD, "precious": "mine"}, path=".")
    (desk.job / "data.csv").unlink()
    (desk.job / "dropped.jsonl").symlink_to("precious")
    for _ in range(2):
        code, _, err = desk.run("check", "--offline", "--drop-bad-rows")
        assert code == 0, err
    assert (desk.job / "precious").read_text() == "mine" and "no 'completion'" in (desk.job / "dropped.jsonl").read_text()
    before = (desk.job / "dropped.jsonl").read_text()
    write(desk, {"dropped.jsonl": before})
    code, _, err = desk.run("check", "--offline", "--drop-bad-rows")
    assert code == 2 and "is the job's data" in err and (desk.job / "dropped.jsonl").read_text() == before


def test_a_check_that_stops_leaves_the_earlier_list(desk: Desk) -> None:
    write(desk, {"d.jsonl": ROWS, "dropped.jsonl": "earlier"}, path="gone.jsonl")
    code, _, _ = desk.run("check", "--offline", "--drop-bad-rows")
    assert code == 2 and (desk.job / "dropped.jsonl").read_text() == "earlier" and not list(desk.job.glob(".dropped*"))


@pytest.mark.parametrize("target", ["z.jsonl", "gone.jsonl"])
def test_a_link_in_a_circle_or_to_nothing(desk: Desk, target: str) -> None:
    write(desk, {"d/a.jsonl": ROWS}, path="d")
    (desk.job / "d" / "z.jsonl").symlink_to(target)
    code, _, err = desk.run("check", "--offline")
    assert code == 2 and "z.jsonl is a link to nothing" in err and "Traceback" not in err


def test_a_codec_that_always_refuses(desk: Desk) -> None:
    write(desk, {"d.jsonl": ROWS}, encoding="undefined")
    code, _, err = desk.run("check", "--offline")
    assert code == 2 and "undefined" in err and "Traceback" not in err


def test_a_tokenizer_config_of_brackets(desk: Desk) -> None:
    write(desk, {"d.jsonl": ROWS, "m/tokenizer.json": "{}", "m/tokenizer_config.json": "[" * 100_000}, model="./m")
    code, _, err = desk.run("check", "--offline")
    assert code == 2 and "cannot be read" in err and "Traceback" not in err


def test_rows_do_not_steer_the_terminal(desk: Desk) -> None:
    row = json.dumps({"prompt": "\x1b]0;title\x07 film", "completion": "\x1b[2Jgood"}) + "\n"
    write(desk, {"d.jsonl": row}, model=yaml.safe_load((desk.job / "cloudtune.yaml").read_text())["model"])
    code, out, err = desk.run("check", "--offline")
    assert code == 0 and "\x1b[2J" not in out and "\x1b]" not in out and "⟦" in out, err
    write(desk, {"d.jsonl": '{"\\u001b[2Jq": 1}\n'})
    code, _, err = desk.run("check", "--offline")
    assert code == 2 and "\x1b" not in err and "␛[2Jq" in err
    write(desk, {"d.csv": "text,label\na,x\nb,\x1b[2Jy\n"}, task="classification", labels=["x", "y"])
    code, out, _ = desk.run("check", "--offline")
    assert code == 2 and "\x1b" not in out
