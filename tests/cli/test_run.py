"""The commands as a person types them: receipts, stops, and one clear message for each bad input."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Desk


def test_receipt_adapter_and_views(desk: Desk) -> None:
    receipt = desk.receipt()
    assert set(receipt) == {
        "run", "outcome", "reason", "attempts", "billed_usd", "billed_s", "training_s", "adapter", "evaluation", "teardown", "estimate_vs_actual",
    }  # fmt: skip
    assert (receipt["outcome"], receipt["billed_usd"], receipt["teardown"]["instances_left"]) == ("succeeded", 0.0, 0)
    assert receipt["adapter"]["path"] == str(desk.job / "out" / "adapter")
    assert set(receipt["adapter"]["sha256"]) >= {"adapter_model.safetensors", "adapter_config.json"}
    assert receipt["evaluation"]["metric"] == "accuracy" and receipt["evaluation"]["rows"] == 10
    assert 0 <= receipt["evaluation"]["before"] <= 1 and receipt["training_s"] > 0
    code, out, _ = desk.run("ps", "-a", "-o", "json")
    assert code == 0 and [r["outcome"] for r in json.loads(out)["runs"]] == ["succeeded"]
    code, out, _ = desk.run("logs", receipt["run"][:4])
    assert code == 0 and "loss=" in out and "end" in out
    code, out, err = desk.run("pull", receipt["run"], "--to", "else where/adapter")
    assert code == 0, err
    assert (desk.job / "else where" / "adapter" / "adapter_model.safetensors").read_bytes() == desk.adapter()
    assert desk.run("attach", receipt["run"])[0] == 0
    assert desk.run("stop", receipt["run"])[0] == 0


def test_ctrl_c_saves_and_the_same_command_goes_on(long_desk: Desk, uninterrupted: bytes) -> None:
    desk = long_desk
    process = desk.start("run", "--infra", "local", "-y", "-o", "json")
    desk.wait_for(lambda: desk.step() >= 15 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    first = json.loads(out)
    assert (first["outcome"], first["reason"], first["teardown"]["instances_left"]) == ("interrupted", "interrupt", 0)
    assert not desk.box_processes()
    second = desk.receipt()
    assert second["outcome"] == "succeeded" and second["run"] != first["run"]
    assert desk.adapter() == uninterrupted, "going on from the checkpoint gives the same bytes"


def test_stop_from_another_terminal(long_desk: Desk) -> None:
    desk = long_desk
    path = desk.job / "cloudtune.yaml"
    path.write_text(path.read_text().replace("num_train_epochs: 40", "num_train_epochs: 999"))
    process = desk.start("run", "--infra", "local", "-y", "-o", "json")
    desk.wait_for(lambda: desk.step() >= 1 or process.poll() is not None)
    run = json.loads(desk.events()[0])["run"]
    second = desk.start("run", "--infra", "local", "-y")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2 and "is controlled by another cloudtune" in err, err
    assert desk.run("stop", run)[0] == 0
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 4 and json.loads(out)["reason"] == "user"
    assert desk.adapter(), "what was learned is at home"


def change(desk: Desk, **keys: Any) -> None:
    path = desk.job / "cloudtune.yaml"
    path.write_text(path.read_text() + "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))


def rows(desk: Desk, text: str) -> None:
    (desk.job / "data.csv").write_text(text)


def unwritable(desk: Desk) -> None:
    (desk.job / "out").write_text("a file, not a folder")


BAD: dict[str, tuple[Any, str]] = {
    "yaml": (lambda d: (d.job / "cloudtune.yaml").write_text("model: ["), "YAML does not parse"),
    "unknown key": (lambda d: change(d, trainig={"seed": 1}), "unknown key 'trainig'"),
    "wrong type": (lambda d: change(d, learning_rate="fast", seed="x"), "seed: expected a whole number, got 'x'"),
    "missing dataset": (lambda d: (d.job / "data.csv").unlink(), "does not exist"),
    "empty dataset": (lambda d: rows(d, ""), "is empty"),
    "no label": (lambda d: rows(d, "text,label\nx,good\ny,\n"), "data.csv:3: the label is empty"),
    "no such model": (lambda d: change(d, output={"adapter": "o"}) or d.job.joinpath("cloudtune.yaml").write_text(
        d.job.joinpath("cloudtune.yaml").read_text().replace("model: ", "model: nobody/no-such-model #")), "nobody/no-such-model"),
    "output not a folder": (unwritable, "cannot be written"),
    "not ours": (lambda d: ((d.job / "out/adapter").mkdir(parents=True), (d.job / "out/adapter/thesis.tex").touch()), "not an adapter of cloudtune's"),
    "infra": (lambda d: change(d, infra="vast"), "no credential for vast"),
    "unseen label": (lambda d: ((d.job / "e.csv").write_text("text,label\nx,odd\n"), change(d, validation_file="e.csv")), "never in training"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_exit_2_and_starts_nothing(desk: Desk, case: str) -> None:
    spoil, message = BAD[case]
    spoil(desk)
    arguments = [] if case == "infra" else ["--infra", "local"]
    code, out, err = desk.run("run", *arguments, "-y", "-o", "json")
    assert code == 2, err
    error = json.loads(out)["error"]
    assert message in error["message"] and error["charged"] == "nothing"
    assert "Traceback" not in err and err.startswith("error: ")
    assert not desk.events(), "nothing was entered in the ledger"


@pytest.mark.parametrize("command", ["attach", "stop", "logs", "pull"])
def test_unknown_run(desk: Desk, command: str) -> None:
    code, _, err = desk.run(command, "abc")
    assert code == 2 and "there is no run 'abc'" in err and "cloudtune ps" in err


def test_init(desk: Desk, tmp_path: Path) -> None:
    code, out, _ = desk.run("init", "sentiment", "my job", "-o", "json")
    assert code == 0 and "cloudtune.yaml" in json.loads(out)["files"]
    assert desk.run("init", "sentiment", "my job")[0] == 2
    assert desk.run("init", "nothing")[0] == 2
    code, out, _ = desk.run("init")
    assert code == 0 and "chat-sft" in out


def test_dry_run_starts_nothing(desk: Desk) -> None:
    code, out, _ = desk.run("run", "--infra", "local", "--dry-run")
    assert code == 0 and "Nothing was started" in out and not desk.events()


def cpu_s(*command: str, env: dict[str, str]) -> float:
    """CPU seconds of a command, children included; the least of five."""
    import resource
    import subprocess

    best = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=env, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def test_help_is_instant(desk: Desk, tmp_path: Path) -> None:
    """Within 100 ms of CPU of a bare typer program with rich help."""
    import sys

    bare = tmp_path / "bare.py"
    bare.write_text("import typer\napp = typer.Typer()\n@app.command()\ndef a(): 'A.'\n@app.command()\ndef b(): 'B.'\napp()\n")
    environment = {**os.environ, **desk.environment()}
    ours = cpu_s(sys.executable, "-c", "from orchestrator.cli.app import main; main()", "--help", env=environment)
    assert ours - cpu_s(sys.executable, str(bare), "--help", env=environment) < 0.1
