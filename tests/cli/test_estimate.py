"""``cloudtune estimate`` as a person types it; what it knows is tested in ``tests/unit/estimate``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.estimating import estimate
from tests.cli.conftest import Desk

THREAD = """\
model: meta-llama/Meta-Llama-3-8B-Instruct
dataset: data.csv
prompt: "{text}"
label: label
lora: {r: 64, alpha: 16}
training: {per_device_train_batch_size: 1, gradient_accumulation_steps: 8, max_length: 2048, gradient_checkpointing: false, optim: paged_adamw_32bit}
"""


def test_the_threads_job(desk: Desk) -> None:
    (desk.job / "cloudtune.yaml").write_text(THREAD)
    code, out, err = desk.run("estimate", "--offline")
    assert code == 0 and "On a T4 this runs out of memory by" in out and "gradient_checkpointing: true it fits" in " ".join(out.split()), (
        err
    )
    code, out, _ = desk.run("estimate", "-o", "json", "--offline")
    document = json.loads(out)
    assert code == 0 and set(document) >= {"model", "peak_gib", "components_gib", "gpus", "ladder", "tokens", "hours", "unchecked"}
    low, expected, high = (document["peak_gib"][k] for k in ("low", "expected", "high"))
    assert low < expected < high and abs(sum(document["components_gib"].values()) - expected) < 0.02
    verdicts = {item["gpu"]: item["verdict"] for item in document["gpus"]}
    assert verdicts["T4"] == "oom" and "T4" not in document["hours"]
    code, out, _ = desk.run("estimate", "--fit", "T4", "-o", "json")
    changes = json.loads(out)["changes"]
    assert code == 0 and changes == {"training.gradient_checkpointing": True}
    fitting = desk.run("estimate", "--fit", "T4")[1]
    assert fitting.splitlines()[0].endswith(": training.gradient_checkpointing") and "null" not in fitting
    (desk.job / "cloudtune.yaml").write_text(fitting)
    assert "as it is" in desk.run("estimate", "--fit", "T4")[1]


@pytest.mark.parametrize(
    ("old", "new", "arguments", "message"),
    [
        ("", "", ["--model", "meta-llama/Lama-3-8B"], "nearest known names"),
        ("r: 64", "r: 1000", ["--model", "HuggingFaceTB/SmolLM2-135M"], "rank 1000 is above"),
        ("max_length: 2048", "max_length: 9000", [], "beyond the 8192 positions"),
        ("", "", ["--gpu", "GTX 9"], "no card called 'GTX 9'"),
        ("max_length: 2048", f"max_steps: {10**400}", [], "max_steps must be at most"),
        ("paged_adamw_32bit", "adafactor", [], "no memory is known for the optimizer"),
    ],
)
def test_what_it_refuses(desk: Desk, old: str, new: str, arguments: list[str], message: str) -> None:
    (desk.job / "cloudtune.yaml").write_text(THREAD.replace(old, new) if old else THREAD)
    code, _, err = desk.run("estimate", "--offline", *arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_a_model_without_a_formula_is_refused_and_can_be_traced(desk: Desk) -> None:
    """Down to the trace itself, which is refused here by a config that names no number of layers."""
    (desk.job / "m").mkdir()
    (desk.job / "m/config.json").write_text('{"model_type": "mamba"}')
    (desk.job / "cloudtune.yaml").write_text(THREAD.replace("meta-llama/Meta-Llama-3-8B-Instruct", "./m"))
    code, out, err = desk.run("estimate", "--offline")
    assert code == 2 and not out and "no formula for the architecture 'mamba'" in err and "--trace" in err
    code, out, err = desk.run("estimate", "--offline", "--trace")
    assert code == 2 and not out and "the trace of ./m failed" in err and "no formula" not in err
    (desk.job / "m/config.json").unlink()
    assert "holds config.json" in desk.run("estimate", "--offline")[2]


def test_int8_is_not_traced_as_something_else(desk: Desk) -> None:
    (desk.job / "cloudtune.yaml").write_text(THREAD + "quantization: int8\n")
    code, out, err = desk.run("estimate", "--offline", "--trace")
    assert code == 2 and not out and "8-bit products cannot be traced" in err


def test_a_trace_of_a_bundled_model_needs_no_network_and_reads_as_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def run(command: list[str], **_: Any) -> Any:
        asked.append(json.loads(Path(command[-1]).read_text(encoding="utf-8")))
        document = {
            "ok": True,
            "peak_bytes": 3 * 2**30,
            "moment": "loss",
            "resident_bytes": 2**31,
            "gradient_bytes": 0,
            "optimizer_bytes": 0,
        }
        return subprocess.CompletedProcess(command, 0, json.dumps(document) + "\n", "")

    monkeypatch.setattr("orchestrator.cli.estimating.subprocess.run", run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    file = tmp_path / "cloudtune.yaml"
    file.write_text(THREAD)
    estimate(file, gpu="T4", fit_gpu=None, trace=True, offline=True, model=None)
    assert asked[0]["model"]["model_type"] == "llama" and asked[0]["r"] == 64
    assert "traced peak  3.00 GiB allocated" in capsys.readouterr().out
