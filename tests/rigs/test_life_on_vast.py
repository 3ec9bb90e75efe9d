"""The create call's timer inside real instances of the rig, and what Vast's own list says of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.backends.skypilot.life import arm_command, onstart_command
from tests.rigs.test_vast_rig import CACHE, Client, pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

NAME = "ct-0a1b2c-00000001-1"
BOUND_S = 40.0


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Client]:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with VastRig() as rig:
        yield Client(rig, tmp_path)


def ended(client: Client) -> dict[str, object]:
    deadline = time.monotonic() + BOUND_S
    while (row := client.rig.truth()[0])["ended_at"] is None:
        assert time.monotonic() < deadline, client.rig.log()
        time.sleep(0.2)
    return dict(row)


def test_it_ends_itself_by_its_own_key(client: Client) -> None:
    client.rent(onstart_cmd=onstart_command(6))
    row = ended(client)
    assert row["ended_by"] != "account"
    assert 6 <= float(str(row["ended_at"])) - float(str(row["created_at"])) < 15


def test_the_end_can_be_set_anew_and_its_key_is_in_no_process_list(client: Client) -> None:
    row = client.await_status(client.rent(onstart_cmd=onstart_command(3600)), "running")
    assert client.ssh(row, "cat ~/.cloudtune-ends-at && ps -eo args | grep -c '[c]loudtune-life'").stdout.split()[1] == "1"
    assert client.ssh(row, arm_command(1)).returncode == 0
    assert ended(client)["ended_by"] != "account"


def test_a_reboot_keeps_the_first_deadline(client: Client) -> None:
    instance = client.rent(onstart_cmd=onstart_command(600))
    row = client.await_status(instance, "running")
    first = client.ssh(row, "cat ~/.cloudtune-ends-at").stdout
    client.rig.reboot(instance)
    time.sleep(2)
    row = client.await_status(instance, "running")
    assert client.ssh(row, "cat ~/.cloudtune-ends-at").stdout == first != ""
    assert client.ssh(row, arm_command(0)).returncode == 0
    assert ended(client)["ended_by"] != "account", "the timer runs again after the reboot"


def test_the_observer_lists_what_exists(client: Client) -> None:
    client.rent(label=f"{NAME}-89abcdef-head")
    client.call("create_instance", id=104, image="any", label="somebody's own", disk=1)
    code = (
        "import json, msgspec; from orchestrator.backends.observers.vast import VastObserver as V;"
        f"print(json.dumps(msgspec.to_builtins(V().instances({NAME!r}) + V().everything())))"
    )
    said = client.rig.run([sys.executable, "-c", code], env={"HOME": str(client.home), "VAST_API_KEY": client.rig.api_key})
    rows = json.loads(said.stdout)
    assert [row["name"] for row in rows] == [NAME, NAME], said.stderr
    truth = client.rig.truth()[0]
    assert rows[0]["gpu"] == "RTX4090" and rows[0]["count"] == 1 and rows[0]["id"] == str(truth["id"]) and rows[0]["usd_per_hour"] > 0.3
    wrong = client.rig.run([sys.executable, "-c", code], env={"HOME": str(client.home), "VAST_API_KEY": "wrong"})
    assert "Refused" in wrong.stderr and wrong.returncode == 1, "a wrong key is not an empty account"


def test_a_revoked_account_key_does_not_keep_what_was_made_alive(client: Client, tmp_path: Path) -> None:
    """Nothing can be listed any more; its id and its own key, both from the create reply, end it."""
    code = (
        "import sys; from pathlib import Path; import vastai; from orchestrator.backends.skypilot import notes;"
        "from orchestrator.backends.skypilot.client import SkyClient; from orchestrator.backends.skypilot.direct import vast_reach;"
        "from orchestrator.backends.skypilot.home import SkyHome;"
        f"folder = Path(sys.argv[1]); variables = {{notes.NOTES: str(folder / '{NAME}.made')}}; client = vastai.VastAI();\n"
        "if sys.argv[2] == 'make':\n"
        "  with notes.create_call(variables) as call:\n"
        "    made = client.create_instance(id=102, image='any', disk=1, label='x')\n"
        "    call.note('made', id=made['new_contract'], key=made.get('instance_api_key'))\n"
        f"else: vast_reach(SkyClient(SkyHome()), folder).end('{NAME}', (), '', notes.read(folder / '{NAME}.made').keys)"
    )
    env = {"HOME": str(client.home), "VAST_API_KEY": client.rig.api_key}
    for word in ("make", "end"):
        if word == "end":
            client.rig.misbehave(key_revoked=True)
        said = client.rig.run([sys.executable, "-c", code, str(tmp_path), word], env=env)
        assert said.returncode == 0, said.stderr
    assert ended(client)["ended_by"] == "instance"
    assert client.rig.api_key not in (tmp_path / f"{NAME}.made").read_text()
