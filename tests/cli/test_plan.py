"""``cloudtune plan`` and ``offers`` as a person types them; what they know is tested in ``tests/unit``."""

from __future__ import annotations

import json
import re

import pytest

from tests.architecture.test_architecture import loaded_by
from tests.cli.conftest import Desk

EIGHT_B = """\
model: meta-llama/Meta-Llama-3-8B-Instruct
dataset: data.csv
prompt: "{text}"
label: label
training: {per_device_train_batch_size: 2, gradient_accumulation_steps: 8, max_length: 512, num_train_epochs: 300}
"""
OFFER_KEYS = {"rank", "cloud", "region", "instance_type", "gpu", "count", "spot", "usd_per_hour", "hours", "usd_per_job", "peak_gib",
              "usable_gib", "guard", "proof", "as_of", "source"}  # fmt: skip


@pytest.fixture
def planner(desk: Desk) -> Desk:
    (desk.job / "cloudtune.yaml").write_text(EIGHT_B)
    return desk


def test_the_document(planner: Desk) -> None:
    code, out, err = planner.run("plan", "--offline", "--budget", "5", "-o", "json")
    document = json.loads(out)
    assert code == 0, err
    assert set(document) >= {"fingerprint", "offers", "rejected", "budget", "unchecked"}
    assert all(set(o) >= OFFER_KEYS for o in document["offers"]) and document["budget"]["cap_usd"] == 5.0
    dollars = [o["usd_per_job"]["expected"] for o in document["offers"]]
    assert dollars == sorted(dollars) and [o["rank"] for o in document["offers"]] == list(range(1, len(dollars) + 1))
    assert not {"verda", "yotta", "hyperbolic", "primeintellect"} & {o["cloud"] for o in document["offers"]}
    again = json.loads(planner.run("plan", "--offline", "--budget", "5", "-o", "json")[1])
    assert again["fingerprint"] == document["fingerprint"] and again["offers"] == document["offers"]
    assert json.loads(planner.run("plan", "--offline", "--budget", "4", "-o", "json")[1])["fingerprint"] != document["fingerprint"]


def test_the_table_and_one_offer_explained(planner: Desk) -> None:
    code, out, err = planner.run("plan", "--offline", "--budget", "5", "--infra", "vast", "--no-spot")
    assert code == 0 and "create-time" in out and "At most $5.00" in out and "kaggle" in out and "days old" in err
    code, out, _ = planner.run("plan", "--offline", "--infra", "vast", "--explain", "1")
    assert code == 0 and "start: boot" in out and "rents as: vast" in out and "the budget lasts" not in out
    code, _, err = planner.run("plan", "--offline", "--infra", "vast", "--explain", "900")
    assert code == 2 and "no offer 900" in err


def test_a_plan_is_kept_and_says_how_to_start_it(planner: Desk) -> None:
    code, out, err = planner.run("plan", "--offline", "--budget", "5", "--infra", "vast")
    assert code == 0, err
    name = out.split("cloudtune run --plan ")[1].split()[0]
    kept = planner.home / ".local/state/cloudtune/plans"
    (file,) = kept.glob("*.json")
    assert file.stem.startswith(name) and json.loads(file.read_text())["asked"] == {"limits.budget_usd": 5.0, "resources.infra": ["vast"]}
    file.write_text(file.read_text()[:100])
    code, _, err = planner.run("run", "--plan", name, "-y")
    assert code == 2 and str(file) in err and "not a plan that can be used" in err and "being charged: nothing" in err
    code, _, err = planner.run("run", "--plan", "0123abcd", "-y")
    assert code == 2 and "there is no plan 0123abcd" in err and file.stem in err


def test_only_what_costs_nothing_is_listed_as_such(planner: Desk) -> None:
    out = planner.run("plan", "--offline", "--budget", "5")[1]
    assert "kaggle T4×2 $0: " in out and "$0.650/h: " not in out


def test_no_offer_fits_says_what_would(planner: Desk) -> None:
    code, _, err = planner.run("plan", "--offline", "--budget", "0.01")
    assert code == 3 and "smallest budget that works is $" in err and "being charged: nothing" in err
    needed = err.split("--budget ")[1].split(";")[0]
    assert planner.run("plan", "--offline", "--budget", needed)[0] == 0
    code, _, err = planner.run("plan", "--offline", "--deadline", "2m")
    assert code == 3 and "within 2 min; the fastest takes" in err
    hours = err.split("--deadline ")[1].split(";")[0]
    assert planner.run("plan", "--offline", "--deadline", hours)[0] == 0
    code, _, err = planner.run("plan", "--offline", "--gpus", "GTX 9")
    assert code == 2 and "no card called" in err


def test_credits_of_the_job_file(planner: Desk) -> None:
    (planner.job / "cloudtune.yaml").write_text(EIGHT_B + "credits: {gcp: 300}\n")
    code, out, err = planner.run("plan", "--offline", "-o", "json")
    best = json.loads(out)["offers"][0]
    assert code == 0 and best["cloud"] == "gcp" and best["usd_per_job"]["expected"] == 0.0 and best["credit_usd"] > 0.0, err


def test_a_damaged_price_file_is_named(planner: Desk) -> None:
    cache = planner.home / ".cache/cloudtune/offers"
    cache.mkdir(parents=True)
    (cache / "aws.csv").write_text("half a fi")
    code, _, err = planner.run("plan", "--offline")
    assert code == 0 and "aws.csv" in err and "ignored" in err
    code, out, _ = planner.run("offers", "-o", "json")
    assert code == 0 and len(json.loads(out)["offers"]) > 300 and "aws.csv" in json.loads(out)["warnings"][0]


def test_planning_loads_nothing_heavy() -> None:
    assert not loaded_by("offers") & {"sky", "pandas", "numpy", "torch", "urllib.request", "requests"}


def test_the_ledger_is_looked_for_under_its_own_name_and_a_damaged_one_is_said(planner: Desk) -> None:
    from orchestrator.cli.planning import LEDGER
    from orchestrator.ledger.database import FILE_NAME

    assert LEDGER == FILE_NAME
    folder = planner.home / ".local/state/cloudtune"
    folder.mkdir(parents=True)
    (folder / LEDGER).write_text("not a database, by far " * 50)
    code, _, err = planner.run("plan", "--offline")
    assert code == 0 and "earlier runs cannot be read" in err


def test_a_credit_at_a_place_that_nobody_knows_is_said(planner: Desk) -> None:
    (planner.job / "cloudtune.yaml").write_text(EIGHT_B + "credits: {gpc: 300}\n")
    code, _, err = planner.run("plan", "--offline")
    assert (code == 0 and "resources.credits names gpc" in err) or (code == 2 and "gpc" in err), err


def test_places_and_cards_that_nobody_knows_are_named(planner: Desk) -> None:
    code, _, err = planner.run("plan", "--offline", "--infra", "nowhere")
    assert code == 2 and "nothing is known of a place called nowhere" in err and "next: " in err
    code, _, err = planner.run("plan", "--offline", "--infra", "nowhere,vast")
    assert code == 0 and "nothing is known of a place called nowhere" in err
    code, _, err = planner.run("plan", "--offline", "--infra", "vast/XX")
    assert code == 3 and "nothing is known" not in err and "NVIDIA driver" not in err, "this machine was not asked for"
    code, _, err = planner.run("plan", "--offline", "--gpus", "Z")
    assert code == 2 and "no card called" in err and "cloudtune offers" in err


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_fits_the_terminal(planner: Desk, columns: int) -> None:
    from rich.cells import cell_len

    code, shown = planner.at_a_terminal(columns, "plan", "--offline", "--budget", "5", "--infra", "vast,runpod,aws")
    assert code == 0
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["#", "where"])
    table = lines[start : next(i for i, line in enumerate(lines) if line.startswith("and "))]
    assert len(table) == (13 if columns == 200 else 26) and max(map(cell_len, table)) <= columns
    assert not any("…" in line[28:] for line in table), "a price is never cut short"
    assert table[1 if columns == 200 else 2].split()[0] == "1" and "GiB" in "".join(table[:2])
