"""cost, sweep, down, the simulated night, and a ledger that cannot be used: as a person meets them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.backends.local import MARK
from tests.cli.conftest import Desk


def boxes(desk: Desk) -> Path:
    return desk.home / ".local/state/cloudtune/local"


def installation(desk: Desk) -> str:
    desk.run("ps")
    with closing(sqlite3.connect(desk.home / ".local/state/cloudtune/ledger.sqlite")) as connection:
        return str(connection.execute("SELECT id FROM installation").fetchone()[0])


def test_cost_when_nothing_runs(desk: Desk) -> None:
    code, out, _ = desk.run("cost", "-o", "json")
    document = json.loads(out)
    assert (code, document["charging"], document["usd_per_hour"], document["total_usd"]) == (0, False, 0.0, 0)
    assert document["accounts"][0]["instances"] == [] and document["accounts"][0]["unknown"] is None
    code, out, _ = desk.run("cost")
    assert code == 0 and out.startswith("No, nothing is being charged")


def test_sweep_ends_what_nobody_uses_and_spares_the_rest(desk: Desk) -> None:
    ours = f"ct-{installation(desk)}-deadbeef-1"
    (boxes(desk) / ours).mkdir(parents=True)
    (boxes(desk) / "ct-other-deadbeef-1").mkdir()
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"], env={**os.environ, MARK: str(boxes(desk) / ours), "HOME": str(desk.home)}
    )  # fmt: skip
    code, out, err = desk.run("sweep", "-o", "json")
    document = json.loads(out)
    assert code == 0 and document["destroyed"] == [ours] and document["left"] == [], err
    assert {item["verdict"] for item in document["found"]} == {"orphan", "foreign"}
    assert stray.wait(10) is not None and not (boxes(desk) / ours).exists()
    assert (boxes(desk) / "ct-other-deadbeef-1").exists(), "another installation's is left alone"
    code, out, _ = desk.run("sweep", "--all", "-y")
    assert code == 0 and "1 ended" in out and not (boxes(desk) / "ct-other-deadbeef-1").exists()
    assert desk.run("sweep")[1].startswith("Nothing to sweep")


def test_down_ends_a_run_at_once(long_desk: Desk) -> None:
    desk = long_desk
    process = desk.start("run", "--infra", "local", "-y", "-o", "json")
    desk.wait_for(lambda: desk.step() >= 1 or process.poll() is not None)
    run = json.loads(desk.events()[0])["run"]
    assert f"ct-{installation(desk)}-{run}-1" in desk.run("cost", "-o", "json")[1]
    assert "in use" in desk.run("sweep")[2], "a run that goes on is not swept"
    assert desk.run("down", run)[0] == 4
    out, _ = process.communicate(timeout=60)
    receipt = json.loads(out)
    assert (receipt["reason"], receipt["adapter"], receipt["teardown"]["instances_left"]) == ("down", None, 0)
    assert not desk.box_processes()


def test_a_simulated_night_for_a_person(desk: Desk) -> None:
    code, out, err = desk.run("run", "--infra", "simulated", "--seed", "10")
    assert "true bill" in out and "takes over" in err and code in (0, 3, 4, 5)
    again = desk.run("run", "--infra", "simulated", "--seed", "10", "-o", "json")
    document = json.loads(again[1])
    assert again[0] == code and document["simulated"]["problems"] == []
    assert document["billed_usd"] >= document["simulated"]["true_bill_usd"]
    assert desk.run("run", "--infra", "simulated", "--seed", "10", "-o", "json") == again, "the same seed is the same night"
    assert not desk.events(), "nothing of the user's is touched"


def newer(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.commit()


def garbage(ledger: Path) -> None:
    for side in ledger.parent.glob("ledger.sqlite-*"):
        side.unlink()
    ledger.write_bytes(b"no database at all" * 50)


@pytest.mark.parametrize(("spoil", "message"), [(newer, "newer cloudtune"), (garbage, "not a usable ledger")])
@pytest.mark.parametrize("command", ["ps", "cost", "run"])
def test_a_ledger_that_cannot_be_used(desk: Desk, spoil: object, message: str, command: str) -> None:
    installation(desk)
    ledger = desk.home / ".local/state/cloudtune/ledger.sqlite"
    spoil(ledger)  # type: ignore[operator]
    before = ledger.read_bytes()
    code, _, err = desk.run(command, *(["--infra", "local", "-y"] if command == "run" else []))
    assert code == 2 and message in err and "Traceback" not in err
    assert ledger.read_bytes() == before, "nothing in it was changed"


def test_a_state_folder_that_cannot_be_made(desk: Desk) -> None:
    (desk.home / ".local").write_text("a file where a folder should be")
    code, _, err = desk.run("ps")
    assert code == 2 and "cannot be" in err and "Traceback" not in err
