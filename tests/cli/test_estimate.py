"""``cloudtune estimate`` as a person types it; what it knows is tested in ``tests/unit/estimate``."""

from __future__ import annotations

import json

import pytest

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
    (desk.job / "cloudtune.yaml").write_text(THREAD.replace("gradient_checkpointing: false", "gradient_checkpointing: true"))
    assert "as it is" in desk.run("estimate", "--fit", "T4")[1]


@pytest.mark.parametrize(
    ("old", "new", "arguments", "message"),
    [
        ("", "", ["--model", "meta-llama/Lama-3-8B"], "nearest known names"),
        ("r: 64", "r: 1000", ["--model", "HuggingFaceTB/SmolLM2-135M"], "rank 1000 is above"),
        ("max_length: 2048", "max_length: 9000", [], "beyond the 8192 positions"),
        ("", "", ["--gpu", "GTX 9"], "no card called 'GTX 9'"),
        ("paged_adamw_32bit", "adafactor", [], "no memory is known for the optimizer"),
    ],
)
def test_what_it_refuses(desk: Desk, old: str, new: str, arguments: list[str], message: str) -> None:
    (desk.job / "cloudtune.yaml").write_text(THREAD.replace(old, new) if old else THREAD)
    code, _, err = desk.run("estimate", "--offline", *arguments)
    assert code == 2 and message in err and "Traceback" not in err
