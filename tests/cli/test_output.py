"""The adapter's folder, odd names and odd data: found by people who tried to break it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Desk


def adapter_to(desk: Desk, folder: str) -> None:
    path = desk.job / "cloudtune.yaml"
    path.write_text(path.read_text() + f"output: {{adapter: {json.dumps(folder)}}}\n")


def test_a_link_is_followed_and_a_finished_adapter_is_not_replaced_by_half_of_one(long_desk: Desk) -> None:
    desk = long_desk
    (desk.job / "out").mkdir()
    (desk.job / "real").mkdir()
    (desk.job / "out" / "adapter").symlink_to("../real")
    receipt = desk.receipt()
    assert receipt["adapter"]["path"] == str(desk.job / "real")
    finished = desk.adapter()
    process = desk.start("run", "--infra", "local", "-y", "-o", "json")
    desk.wait_for(
        lambda: (sum('"kind":"planned"' in body for body in desk.events()) == 2 and _second_step(desk)) or process.poll() is not None
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    interrupted = json.loads(out)
    assert process.returncode == 130 and "does not replace" in err
    assert desk.adapter() == finished, "the finished adapter stays where it is"
    kept = Path(interrupted["adapter"]["path"])
    assert (kept / "adapter_model.safetensors").exists() and kept != desk.job / "real"
    assert desk.run("pull", interrupted["run"], "--to", "half")[0] == 0 and (desk.job / "half" / "adapter_model.safetensors").exists()
    (desk.job / "real" / "notes.txt").write_text("mine")
    code, _, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
    assert code == 2 and "notes.txt" in err and (desk.job / "real" / "notes.txt").read_text() == "mine"


def _second_step(desk: Desk) -> bool:
    bodies = [json.loads(body) for body in desk.events()]
    runs = [b["run"] for b in bodies if b["kind"] == "planned"]
    starts = [i for i, b in enumerate(bodies) if b["kind"] == "planned"]
    parts = [bodies[start:end] for start, end in zip(starts, [*starts[1:], len(bodies)], strict=True)]
    return len(runs) == 2 and any(
        any(b["kind"] == "progressed" and b.get("step", 0) >= 15 for b in part) and not any(b["kind"] == "concluded" for b in part)
        for part in parts
    )


@pytest.mark.parametrize("folder", ["out/..", "n" * 250, "a\0b", "loop/x", "/proc/nothing"])
def test_an_output_that_cannot_be_is_refused_before_anything_starts(desk: Desk, folder: str) -> None:
    os.symlink("loop", desk.job / "loop")
    adapter_to(desk, folder)
    code, _, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
    assert code == 2 and "output.adapter" in err and "Traceback" not in err


def test_markup_in_names_is_only_text(desk: Desk) -> None:
    (desk.job / "data.csv").write_text(
        "text,label\n" + "\n".join(f"film {i},{'[/x]' if i % 2 else '[bold red]'}" for i in range(40)) + "\n"
    )
    odd = desk.job.parent / "a[" / "red]b"
    odd.parent.mkdir()
    desk.job.rename(odd)
    desk.job = odd
    code, out, err = desk.run("run", "--infra", "local", "-y")
    assert code == 0 and "[bold red] " in err and "a[/red]b" in out, err
    code, out, err = desk.run("ps", "-a")
    assert code == 0 and "a[/red]b" in out, err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "not usable JSON"),
        ("d.jsonl", '{"text": "a\\ud800", "label": "x"}', "lone surrogate"),
        ("d.jsonl", '{"text": NaN, "label": "x"}', "not a number"),
        ("n" * 300 + ".csv", None, "cannot be looked at"),
    ],
)
def test_odd_data(desk: Desk, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (desk.job / name).write_text(content)
    path = desk.job / "cloudtune.yaml"
    path.write_text(path.read_text().replace("path: data.csv", f"path: {name}"))
    code, _, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
    assert code == 2 and message in err and "Traceback" not in err, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--deadline", "0s"], "between a minute and a year"),
        (["--deadline", "9" * 400 + "h"], "between a minute and a year"),
        (["--infra", ""], "names no place"),
        (["--model", "m" * 5000], "cannot be looked at"),
    ],
)
def test_odd_flags(desk: Desk, arguments: list[str], message: str) -> None:
    code, _, err = desk.run("run", "-y", "--dry-run", *arguments)
    assert code == 2 and message in err and "Traceback" not in err, err


def test_an_output_that_nobody_takes(desk: Desk) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-P", "-c", "from orchestrator.cli.app import main; main()", "schema"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=desk.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "No space left" in done.stderr


def test_import_and_the_one_notebook_of_a_folder(desk: Desk) -> None:
    (desk.job / "cloudtune.yaml").unlink()
    source = "from transformers import AutoModelForCausalLM, TrainingArguments\nfrom peft import LoraConfig\nfrom trl import SFTTrainer\n"
    source += "m = AutoModelForCausalLM.from_pretrained('org/base')\nc = LoraConfig(r=8)\n"
    source += "t = SFTTrainer(model=m, peft_config=c, args=TrainingArguments(output_dir='x', learning_rate=1e-4))\nt.train()\n"
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
    (desk.job / "my notebook.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    code, _, err = desk.run("run", "-y")
    assert code == 2 and "cloudtune import 'my notebook.ipynb'" in err
    code, out, err = desk.run("import", "my notebook.ipynb", "-o", "json")
    assert code == 0 and json.loads(out)["job"]["lora"] == {"r": 8}, err
    assert desk.run("import", "my notebook.ipynb")[0] == 0 and "org/base" in (desk.job / "cloudtune.yaml").read_text()
    assert desk.run("import", "my notebook.ipynb")[0] == 2, "never overwrites"
    (desk.job / "nothing.py").write_text("print(1)")
    assert desk.run("import", "nothing.py", "--force")[0] == 2


def test_import_names_each_trainer_once(desk: Desk) -> None:
    (desk.job / "two.py").write_text("from trl import SFTTrainer\nSFTTrainer('org/a').train()\nSFTTrainer('org/b').train()\n")
    code, _, err = desk.run("import", "two.py", "--force")
    assert code == 2 and "--trainer N" in err
    assert err.count("SFTTrainer") == 2, err
