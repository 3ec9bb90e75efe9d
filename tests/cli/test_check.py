"""``cloudtune check`` as a person types it."""

from __future__ import annotations

import json

import yaml

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


def chat(*turns: str) -> str:
    roles = ["user", "assistant"] * len(turns)
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]}) + "\n"


def job_of(desk: Desk, rows: str, **training: object) -> None:
    model = yaml.safe_load((desk.job / "cloudtune.yaml").read_text())["model"]
    (desk.job / "d.jsonl").write_text(rows, encoding="utf-8")
    (desk.job / "cloudtune.yaml").write_text(
        json.dumps({"model": model, "dataset": {"path": "d.jsonl", "eval_fraction": 0.2}, "training": training}), encoding="utf-8"
    )


def test_tokens_are_counted_and_the_mask_is_shown(desk: Desk) -> None:
    job_of(desk, chat("film " * 9, "good") + chat("film", "bad", "plot " * 40, "fine"), max_length=24)
    code, out, err = desk.run("check", "-o", "json")
    found = json.loads(out)
    tokens = found["tokens"]
    assert code == 0 and tokens["counted"], err
    assert (tokens["total"], tokens["longest"]) == (14 + 24, 4 * 2 + 43)
    assert (tokens["rows_over_max_length"], tokens["tokens_cut"]) == (1, tokens["longest"] - 24)
    assert sum(bar["rows"] for bar in tokens["histogram"]) == 2
    learned = ["".join(piece["text"] for piece in mask["pieces"] if piece["learned"]) for mask in found["masks"]]
    assert "good" in learned[0] and "film" not in learned[0] and "bad" in learned[1]
    assert any("d.jsonl:2" in line and "over max_length" in line for line in found["reports"])
    code, out, _ = desk.run("check")
    assert "⟦" in out and "█" in out and "padding:" in out


def test_faults_of_tokens_stop_check_and_run_alike(desk: Desk) -> None:
    job_of(desk, chat("film", "good") * 5 + chat("plot " * 40, "bad") + chat("<s> film", "bad"), max_length=24)
    code, out, _ = desk.run("check")
    assert code == 2 and "nothing to learn" in out and "d.jsonl:6" in out
    code, _, err = desk.run("run", "--infra", "local", "-y", "--dry-run")
    assert code == 2 and "d.jsonl:6" in err and "cloudtune check" in err and "Traceback" not in err
    code, out, _ = desk.run("check", "--drop-bad-rows")
    dropped = [json.loads(line)["line"] for line in (desk.job / "dropped.jsonl").read_text().splitlines()]
    assert code == 0 and dropped == [6]


def test_a_template_that_never_ends_and_none_at_all(desk: Desk) -> None:
    from tests.trainer.trainer_rig import make_tokenizer

    for template, kind in (
        ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}", "no stop token"),
        ("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}</s>{% endif %}{% endfor %}", "template drops answers"),
        ("{{ raise_exception('roles must alternate') }}", "template refuses"),
        (None, "no chat template"),
    ):
        folder = desk.job / "model"
        make_tokenizer(folder)
        if template is None:
            (folder / "chat_template.jinja").unlink()
        else:
            (folder / "chat_template.jinja").write_text(template)
        (desk.job / "d.jsonl").write_text(chat("film", "good"))
        (desk.job / "cloudtune.yaml").write_text("model: model\ndataset: d.jsonl\n")
        code, out, err = desk.run("check", "--offline", "--drop-bad-rows")
        assert (code, kind in out, "d.jsonl:1" in out, "Traceback" in err) == (2, True, True, False), (kind, out, err)


def test_a_doubled_begin_token_and_ends_that_are_always_cut(desk: Desk) -> None:
    job_of(desk, json.dumps({"prompt": "<s> film", "completion": "good"}) + "\n")
    code, out, _ = desk.run("check")
    assert code == 2 and "doubled begin token" in out and "d.jsonl:1" in out
    job_of(desk, json.dumps({"prompt": "film", "completion": "good " * 30}) + "\n", max_length=8)
    code, out, _ = desk.run("check")
    assert code == 2 and "stop token never learned" in out


def test_the_plan_counts_what_check_counted_once(desk: Desk) -> None:
    code, _, err = desk.run("check", "--offline")
    reports = list((desk.home / ".cache/cloudtune/reports").glob("*.json"))
    assert code == 0 and len(reports) == 1, err
    before = reports[0].stat().st_mtime_ns
    code, out, _ = desk.run("check", "-o", "json")
    upload = json.loads(out)["upload"]
    receipt = desk.receipt()
    assert [path.stat().st_mtime_ns for path in (desk.home / ".cache/cloudtune/reports").glob("*.json")] == [before]
    plan = [
        json.loads(line) for line in (next((desk.home / ".local/state/cloudtune/runs").glob("*/progress-1.jsonl"))).read_text().splitlines()
    ]
    trained = next(line for line in plan if line["kind"] == "plan")["tokens_per_epoch"]
    code, out, err = desk.run("estimate", "--offline", "-o", "json")
    assert receipt and not json.loads(out)["unchecked"], err
    listed = {part["name"]: part["bytes"] for part in upload}
    sent = {path.name: path.stat().st_size for path in next((desk.home / ".local/state/cloudtune/runs").glob("*/bundle")).iterdir()}
    assert listed["job/train.jsonl"] + listed["job/eval.jsonl"] == sent["train.jsonl"] + sent["eval.jsonl"]
    assert abs(listed["job/train.jsonl"] - sent["train.jsonl"]) < 100 and listed["trainer/"] > 50_000 and listed["model/"] > 100_000
    stored = json.loads(reports[0].read_text())
    assert stored["counted"] and trained == _trained(desk)


def _trained(desk: Desk) -> int:
    """Tokens of one epoch by the kept report, of the rows that the split leaves to train on."""
    import os
    from unittest import mock

    from orchestrator.backends.examine import count
    from orchestrator.data.prepare import prepare
    from orchestrator.spec.parse import load_job

    with mock.patch.dict(os.environ, {"HOME": str(desk.home)}):
        job = load_job(desk.job / "cloudtune.yaml", environment={})
        counted = count(job, prepare(job), offline=True)
    assert counted.exact
    return sum(counted.train)


def test_too_little_disk_is_said_before_renting(desk: Desk) -> None:
    with open(desk.job / "cloudtune.yaml", "a") as handle:
        handle.write("resources: {disk_gb: 5}\n")
    code, _, err = desk.run("check")
    assert code == 2 and "resources.disk_gb is 5" in err and "disk_gb:" in err and "Traceback" not in err


def test_a_model_name_that_no_folder_can_have(desk: Desk) -> None:
    (desk.job / "cloudtune.yaml").write_text(json.dumps({"model": "m" * 5000, "dataset": "data.csv"}))
    code, out, err = desk.run("check", "--offline", "-o", "json")
    found = json.loads(out)
    assert code == 0 and not found["tokens"]["counted"] and found["disk_gb"] is None and "Traceback" not in err
