"""Exit codes and their messages, the out-of-memory ladder, and what the trainer may import."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import ROOT, Box, sentiment_rows, write_rows

from trainer.contract import ConfigError, ExitCode, LoopConfig, TrainerConfig
from trainer.errors import DataError, DivergedError, ModelError, exit_code_for
from trainer.model import resolve_model
from trainer.progress import Progress, read_progress, training_seconds
from trainer.settings import check_config, next_rung


def test_ladder_keeps_the_effective_batch() -> None:
    loop = LoopConfig(per_device_train_batch_size=12, gradient_accumulation_steps=2, gradient_checkpointing=False)
    seen = []
    while (rung := next_rung(loop)) is not None:
        loop = rung[0]
        seen.append((loop.per_device_train_batch_size, loop.gradient_accumulation_steps, loop.gradient_checkpointing))
    assert seen == [(6, 4, False), (3, 8, False), (1, 24, False), (1, 24, True)]


def test_running_out_of_memory_moves_the_ladder_and_changes_nothing(box: Box, undisturbed: Box) -> None:
    box.configure(training={"max_steps": 3}, lora={"dropout": 0.0})
    code, errors = box.run(CLOUDTUNE_TEST_OOM_ABOVE_ROWS="2")
    assert code == 0, errors + box.log()
    assert [line["change"] for line in box.lines("rung")] == ["per_device_train_batch_size: 2, gradient_accumulation_steps: 4"]
    assert box.result()["attempts"] == 2
    assert len(box.lines("step")) == 3
    tokens = [line["tokens"] for line in undisturbed.lines("step")][:3]
    assert [line["tokens"] for line in box.lines("step")] == tokens  # the same rows in every step


def test_exhausted_ladder_ends_with_its_own_code(box: Box) -> None:
    box.configure(training={"per_device_train_batch_size": 1, "gradient_checkpointing": True}, eval_file=None)
    code, errors = box.run(CLOUDTUNE_TEST_OOM_ABOVE_ROWS="0")
    assert code == 10
    assert "out of memory on the last rung" in errors
    assert box.result()["exit_code"] == 10
    assert box.lines("end")[0]["exit_code"] == 10


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), ExitCode.BAD_CONFIG),
        (DataError("x"), ExitCode.BAD_DATA),
        (ModelError("x"), ExitCode.NO_MODEL),
        (DivergedError("x"), ExitCode.DIVERGED),
        (MemoryError(), ExitCode.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ExitCode.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.DISK_FULL),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/3"), ExitCode.DISK_FULL),
        (RuntimeError("something else"), ExitCode.CRASH),
    ],
)
def test_exit_codes_of_errors(error: BaseException, code: ExitCode) -> None:
    assert exit_code_for(error) is code


def test_the_cause_of_an_error_counts() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as inner:
            raise RuntimeError("could not save") from inner
    except RuntimeError as outer:
        assert exit_code_for(outer) is ExitCode.DISK_FULL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "poetry"}, "task: 'poetry' is not one of sft, classification"),
        ({"quantization": "q4"}, "quantization: 'q4'"),
        ({"task": "classification"}, "labels: a classification needs"),
        ({"training": LoopConfig(per_device_train_batch_size=0)}, "per_device_train_batch_size: 0 is below 1"),
        ({"keep_checkpoints": 0}, "keep_checkpoints: 0 is below 1"),
    ],
)
def test_impossible_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(TrainerConfig(**{"model": "m", "train_file": "t", "out_dir": "o", **changes}))


def test_bad_config_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"modle": 1}')
    command = [sys.executable, "-P", "-m", "trainer", str(tmp_path / "config.json")]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "trainer: modle: unknown key\n"


def test_bad_data_is_named_before_the_model_is_loaded(box: Box) -> None:
    write_rows(box.folder / "train.jsonl", [*sentiment_rows(2), {"prompt": "x"}])
    with pytest.raises(DataError, match=r"train.jsonl:3: expected one of"):
        box.attempt()
    assert not box.lines("plan")


def test_no_model(box: Box) -> None:
    box.configure(model="nobody/no-such-model")
    code, errors = box.run(HF_HUB_OFFLINE="1")
    assert code == 4
    assert errors == "trainer: nobody/no-such-model: the Hub cannot be reached, and it is not in the local cache\n"


def test_pickled_weights_are_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="weights in other formats"):
        resolve_model(str(tmp_path))


def test_a_file_named_trainer_does_not_shadow(box: Box) -> None:
    (box.folder / "trainer.py").write_text("raise SystemExit(99)")
    box.configure(training={"per_device_train_batch_size": 0})
    code, errors = box.run()
    assert code == 2
    assert "per_device_train_batch_size: 0 is below 1" in errors


def test_the_supervisor_starts_without_torch() -> None:
    code = "import sys, trainer.supervise, trainer.worker; print({'torch', 'transformers', 'numpy', 'orchestrator'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_progress_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text('{"v": 1, "kind": "st')
    with Progress(path) as progress:
        progress.emit("step", step=1, loss=float("nan"))
    assert [(line["step"], line["loss"]) for line in read_progress(path)] == [(1, None)]


def test_training_time_is_summed_over_attempts() -> None:
    attempt = [{"kind": "phase", "name": "loading"}, {"kind": "step", "training_s": 1.5}, {"kind": "step", "training_s": 4.0}]
    assert training_seconds([*attempt, *attempt[:2]]) == 5.5
