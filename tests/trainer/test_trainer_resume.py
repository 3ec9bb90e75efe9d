"""A run that is killed, stopped or started twice ends with the same bytes as one that was left alone."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from trainer_rig import Box, workers_of

from trainer.checkpoint import find_checkpoint, fingerprint
from trainer.contract import ConfigError

KILLED = -signal.SIGKILL


def losses(box: Box) -> dict[int, float]:
    """The loss of every step; a step that was trained twice must have had the same one."""
    seen: dict[int, float] = {}
    for line in box.lines("step"):
        assert seen.setdefault(line["step"], line["loss"]) == line["loss"]
    return seen


def assert_equal_to(box: Box, undisturbed: Box) -> None:
    code, errors = box.finish(box.start())
    assert code == 0, errors + box.log()
    assert losses(box) == losses(undisturbed)
    assert box.adapter() == undisturbed.adapter()
    assert not workers_of(box.out)


def test_undisturbed_run_is_complete(undisturbed: Box) -> None:
    result = undisturbed.result()
    assert result["exit_code"] == 0
    assert (result["steps"], result["total_steps"]) == (12, 12)
    assert result["evaluation"]["metric"] == "accuracy"
    assert result["evaluation"]["rows"] == 12
    assert set(result["adapter"]["sha256"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads(undisturbed.adapter()["adapter_config.json"])["base_model_name_or_path"] == undisturbed.settings["model"]
    assert [line["name"] for line in undisturbed.lines("phase")] == [
        "loading", "evaluating_before", "training", "saving", "evaluating_after"
    ]  # fmt: skip
    assert result["training_s"] > 0 and result["tokens"] == undisturbed.lines("step")[-1]["tokens"]
    kept = sorted(path.name for path in (undisturbed.out / "checkpoints").iterdir())
    assert kept == ["step-12", "step-9"]


def test_the_rig_exercises_8_bit_optimizer_states(undisturbed: Box) -> None:
    saved = torch.load(undisturbed.out / "checkpoints" / "step-12" / "optimizer.pt", weights_only=True)["state"].values()
    assert {entry["__bnb_optimizer_quant_state__"]["state1"].dtype for entry in saved} >= {torch.uint8}


def test_a_finished_run_is_not_run_again(undisturbed: Box) -> None:
    before = len(undisturbed.lines())
    code, _ = undisturbed.run()
    assert code == 0
    assert len(undisturbed.lines()) == before


def kill_workers(box: Box) -> None:
    for pid in workers_of(box.out):
        os.kill(pid, signal.SIGKILL)


def test_worker_killed_again_and_again(box: Box, undisturbed: Box) -> None:
    supervisor = box.start()
    for step in (1, 4, 8):
        box.wait_for_step(step)
        kill_workers(box)
    box.wait_for(lambda: any(line["name"] == "evaluating_after" for line in box.lines("phase")))
    kill_workers(box)
    code, errors = box.finish(supervisor)
    assert code == 0, errors + box.log()
    assert losses(box) == losses(undisturbed)
    assert box.adapter() == undisturbed.adapter()
    assert box.result()["evaluation"] == undisturbed.result()["evaluation"]
    assert box.result()["attempts"] >= 4


def test_killed_supervisor_takes_its_worker_along(box: Box, undisturbed: Box) -> None:
    for step in (2, 7):
        supervisor = box.start()
        box.wait_for_step(step)
        supervisor.kill()
        supervisor.wait()
        box.wait_for(lambda: not workers_of(box.out))
    assert_equal_to(box, undisturbed)


def test_stop_and_resume(box: Box, undisturbed: Box) -> None:
    for step, by_signal in ((1, False), (5, True)):  # early: on a loaded machine several more steps pass before it is heard
        supervisor = box.start()
        box.wait_for_step(step)
        if by_signal:
            supervisor.send_signal(signal.SIGINT)
        else:
            (box.out / "stop").touch()
        code, errors = box.finish(supervisor)
        assert code == 20, errors + box.log()
        stopped = box.result()
        assert step <= stopped["steps"] < 12
        assert stopped["adapter"]["sha256"]
        assert (box.out / "checkpoints" / f"step-{stopped['steps']}").is_dir()
        assert box.run()[0] == 20  # idempotent until the laptop clears the way
        (box.out / "stop").unlink(missing_ok=True)
        (box.out / "result.json").unlink()
    assert_equal_to(box, undisturbed)


def test_soft_deadline_that_has_passed_saves_and_ends(box: Box) -> None:
    box.configure(soft_deadline_at=time.time() + 1)
    code, errors = box.run()
    assert code == 20, errors + box.log()
    assert box.result()["reason"] == "soft deadline"
    assert box.result()["adapter"]["sha256"]


def test_half_written_checkpoint_is_passed_over(box: Box, undisturbed: Box) -> None:
    shutil.copytree(undisturbed.out, box.out)
    shutil.rmtree(box.out / "adapter")
    (box.out / "result.json").unlink()
    (box.out / "progress.jsonl").unlink()
    (box.out / "checkpoints" / "step-12" / "manifest.json").unlink()
    code, errors = box.run()
    assert code == 0, errors + box.log()
    assert box.lines("resumed")[0]["step"] == 9
    assert box.adapter() == undisturbed.adapter()


def test_resume_from_another_folder(box: Box, undisturbed: Box, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(undisturbed.out / "checkpoints", home)
    (home / "step-12" / "facts.json").write_text("torn")
    box.configure(resume_from=str(home / "step-12"))  # broken: the one before it is taken
    config = box.config()
    expected = fingerprint(config, Path(config.model))
    assert find_checkpoint(config, expected) == home / "step-9"
    with pytest.raises(ConfigError, match="belongs to another training: its lora is"):
        find_checkpoint(config, {**expected, "lora": [8]})
    split = dataclasses.replace(config.training, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    assert fingerprint(dataclasses.replace(config, training=split), Path(config.model)) == expected


def test_second_supervisor_is_busy(box: Box) -> None:
    first = box.start()
    box.wait_for(lambda: (box.out / "supervisor.json").exists())
    code, errors = box.run()
    assert code == 23
    assert "another supervisor owns" in errors
    assert json.loads((box.out / "supervisor.json").read_text())["pid"] == first.pid
    first.send_signal(signal.SIGKILL)
    assert box.finish(first)[0] == KILLED
    box.wait_for(lambda: not workers_of(box.out))
