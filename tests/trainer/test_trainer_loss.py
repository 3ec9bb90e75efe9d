"""The loop against a plain PyTorch one, logits at chosen positions against all logits, and the evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from trainer_rig import Box, write_rows

from trainer.checkpoint import publish
from trainer.contract import ExitCode, Kind, verify_manifest
from trainer.data import encode_rows, read_rows
from trainer.evaluate import Scores, gain_interval
from trainer.heads import CHUNK_POSITIONS, Head
from trainer.loop import make_batches
from trainer.lora import load_model, load_tokenizer
from trainer.tasks.sft import SftTask


def reference_losses(box: Box, steps: int) -> list[float]:
    """Losses of a plain loop: one padded batch a step, full logits, AdamW, linear decay."""
    config = box.config()
    folder = Path(config.model)
    tokenizer = load_tokenizer(folder, config)
    task = SftTask(tokenizer, config)
    examples = [example for _, example in encode_rows(read_rows(Path(config.train_file)), task.encode, print)]
    order = make_batches(config, examples).order(0)
    model = load_model(folder, config, tokenizer)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=config.training.learning_rate, weight_decay=0.0)
    found = []
    for step in range(steps):
        batch = task.collate([examples[row] for row in order[step * 8 : step * 8 + 8]])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.training.learning_rate * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def test_losses_equal_a_plain_loop(box: Box) -> None:
    box.configure(
        quantization="none", eval_file=None, lora={"dropout": 0.0},
        training={"optim": "adamw_torch", "lr_scheduler_type": "linear", "warmup_steps": 0.0, "max_steps": 6},
    )  # fmt: skip
    box.configure(training={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4})
    code, said = box.attempt()
    assert code is ExitCode.DONE
    assert said["steps"] == 6
    ours = [line["loss"] for line in box.lines(Kind.STEP)]
    assert ours == pytest.approx(reference_losses(box, 6), rel=1e-4)


def small(kind: str) -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    shared = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    shared["head_dim"] = 16
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=4096))
    if kind == "gemma2":  # its logits are soft-capped after the head
        return Gemma2ForCausalLM(Gemma2Config(**shared, intermediate_size=64, final_logit_softcapping=0.05))
    return LlamaForCausalLM(LlamaConfig(**shared, intermediate_size=64, max_position_embeddings=4096))


@pytest.mark.parametrize(("kind", "direct"), [("llama", True), ("gpt2", True), ("gemma2", False)])
@pytest.mark.parametrize("length", [12, CHUNK_POSITIONS])
def test_chosen_logits_give_the_whole_loss_and_gradient(kind: str, direct: bool, length: int) -> None:
    model = small(kind).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    head = Head(model)
    assert head.direct is direct
    ids = torch.randint(0, 50, (3, length))
    mask = torch.ones_like(ids)
    labels = ids.clone()
    labels[0, : length // 2] = -100
    whole = F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits[:, :-1].reshape(-1, 50), labels[:, 1:].reshape(-1))
    wanted = torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)
    ours = head.losses(ids, mask, labels).mean()
    found = torch.autograd.grad(ours, list(model.parameters()), allow_unused=True)
    assert ours.item() == pytest.approx(whole.item(), rel=1e-5)
    for one, two in zip(found, wanted, strict=True):
        if one is not None or two is not None:
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


def test_classification_learns_and_its_adapter_says_its_labels(box: Box) -> None:
    rows = [json.loads(line) for line in (box.folder / "train.jsonl").read_text().splitlines()]
    held = [json.loads(line) for line in (box.folder / "eval.jsonl").read_text().splitlines()]
    for name, part in (("train", rows), ("eval", held)):
        write_rows(box.folder / f"{name}.jsonl", [{"text": row["prompt"], "label": row["label"]} for row in part])
    box.configure(
        task="classification",
        quantization="nf4",
        lora={"r": 4, "alpha": 8, "dropout": 0.0},
        training={"learning_rate": 2e-2, "num_train_epochs": 4.0},
        save_steps=0,
    )
    code, said = box.attempt()
    assert code is ExitCode.DONE
    assert said["evaluation"]["metric"] == "accuracy"
    assert said["evaluation"]["after"] == 1.0
    verify_manifest(box.out / "adapter")
    assert json.loads((box.out / "adapter" / "labels.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}
    assert json.loads((box.out / "adapter" / "adapter_config.json").read_text())["modules_to_save"] == ["classifier", "score"]


def test_the_adapter_loads_with_peft_and_gives_the_trained_model(undisturbed: Box) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(undisturbed.settings["model"])
    model = PeftModel.from_pretrained(base, str(undisturbed.out / "adapter"))
    assert model.peft_config["default"].r == 64
    assert any(float(tensor.abs().sum()) > 0 for name, tensor in model.named_parameters() if "lora_B" in name)


def test_unlabelled_rows_are_scored_by_loss_with_samples(box: Box) -> None:
    for name in ("train", "eval"):
        rows = [json.loads(line) for line in (box.folder / f"{name}.jsonl").read_text().splitlines()]
        write_rows(box.folder / f"{name}.jsonl", [{"text": row["prompt"] + row["completion"]} for row in rows])
    box.configure(labels=[], training={"learning_rate": 1e-2}, sample_prompts=2, quantization="nf4-double")
    code, said = box.attempt()
    assert code is ExitCode.DONE
    assert said["evaluation"]["metric"] == "loss"
    assert said["evaluation"]["gain_high"] < 0
    assert [line["when"] for line in box.lines(Kind.SAMPLE)] == ["before"] * 2 + ["after"] * 2


def test_a_loss_that_is_no_number_ends_the_run(box: Box) -> None:
    from trainer.errors import DivergedError

    class NotANumber(SftTask):
        def summed_loss(self, model: Any, batch: dict[str, Any]) -> Any:
            return super().summed_loss(model, batch) * float("nan")

    import trainer.attempt

    box.configure(eval_file=None, save_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.attempt, "SftTask", NotANumber)
        with pytest.raises(DivergedError, match="not a number for 3 steps"):
            box.attempt()
    assert not list((box.out / "checkpoints").glob("step-*")) if (box.out / "checkpoints").exists() else True


def test_gain_interval_brackets_the_gain() -> None:
    before = Scores(metric="accuracy", values=[0.0, 1.0] * 100, weights=[1.0] * 200, loss=1.0)
    after = Scores(metric="accuracy", values=[1.0, 1.0] * 50 + [0.0, 1.0] * 50, weights=[1.0] * 200, loss=1.0)
    low, high = gain_interval(before, after, 1)
    assert low < 0.25 < high
    assert (low, high) == gain_interval(before, after, 1)


def test_a_failed_publish_leaves_the_old_folder(tmp_path: Any) -> None:
    final = tmp_path / "adapter"
    publish(final, lambda folder: (folder / "a").write_text("old") and None)

    def fail(folder: Any) -> None:
        (folder / "a").write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(final, fail)
    assert (final / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
