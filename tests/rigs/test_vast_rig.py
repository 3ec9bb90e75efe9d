"""The Vast rig itself: its instances are real machines, its bill is its own, and nothing is left of it. Clients run as processes inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.vast import market
from tests.rigs.vast.rig import VastRig, reason_missing

pytestmark = [pytest.mark.rig, pytest.mark.skipif(reason_missing() is not None, reason=str(reason_missing()))]
# The image is baked once a computer, not once a test's own home.
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
QUERY = "gpu_name=RTX_4090 num_gpus=1"
BOUND_S = 30.0


class Client:
    """The provider's real client, in a process inside the rig, for one account."""

    def __init__(self, rig: VastRig, home: Path) -> None:
        self.rig, self.home = rig, rig.make_home(home)
        key = home / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.call("create_ssh_key", ssh_key=key.with_suffix(".pub").read_text())

    def call(self, method: str, *, key: str | None = None, **arguments: Any) -> Any:
        code = "import json, sys, vastai_sdk as v; print(json.dumps(getattr(v.VastAI(), sys.argv[1])(**json.loads(sys.argv[2]))))"
        argv = [sys.executable, "-c", code, method, json.dumps(arguments)]
        done = self.rig.run(argv, env={"HOME": str(self.home), "VAST_API_KEY": key or self.rig.api_key})
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    def rent(self, **arguments: Any) -> int:
        """Rent the first RTX 4090 and wait for nothing."""
        offer = self.call("search_offers", query=QUERY)[0]
        return int(self.call("create_instance", id=offer["id"], image="any", **{"disk": 1, "label": "t", **arguments})["new_contract"])

    def await_status(self, instance: int, status: str) -> dict[str, Any]:
        deadline = time.monotonic() + BOUND_S
        while (row := self.call("show_instance", id=instance))["actual_status"] != status:
            assert time.monotonic() < deadline, self.rig.log()
        return dict(row)

    def ssh(self, row: dict[str, Any], command: str) -> subprocess.CompletedProcess[str]:
        options = [
            "-i",
            str(self.home / "key"),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        return self.rig.run(["ssh", *options, "-p", str(row["ssh_port"]), f"root@{row['ssh_host']}", command])


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[VastRig]:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with VastRig() as rig:
        yield rig


@pytest.fixture
def client(rig: VastRig, tmp_path: Path) -> Client:
    return Client(rig, tmp_path)


def test_an_instance_is_a_machine_of_its_own(client: Client) -> None:
    row = client.await_status(client.rent(env={"GREETING": "hello there"}, onstart_cmd="echo ran > ~/onstart"), "running")
    said = client.ssh(
        row, 'hostname; echo "$GREETING"; cat ~/onstart; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader'
    )
    assert said.stdout.splitlines() == [f"c{row['id']}", "hello there", "ran", "NVIDIA GeForce RTX 4090, 570.133.20, 24564 MiB"], (
        said.stderr
    )
    assert client.ssh(row, "ip -o link | wc -l; ls /proc | grep -c '^[0-9]'").stdout.split()[0] == "1"
    full = client.ssh(row, "dd if=/dev/zero of=/filler bs=1M count=2000 2>&1")
    assert full.returncode != 0 and "No space left on device" in full.stdout


def test_the_wrong_key_is_refused_as_the_real_client_tells_it(client: Client) -> None:
    with pytest.raises(RuntimeError, match="401 Client Error"):
        client.call("show_instances", key="wrong")


def test_filters_are_honoured(client: Client) -> None:
    def found(query: str, **options: Any) -> list[int]:
        return [row["id"] for row in client.call("search_offers", query=query, **options)]

    assert found(QUERY) == [102, 104, 105]
    assert found(f"{QUERY} georegion=true geolocation=EU") == [105]
    assert found("gpu_name=RTX_4090 num_gpus=2") == [106]
    assert found("dph_total<0.2", order="dph_total") == [101, 107]
    assert found("disk_space>=800 cpu_ram>=200") == [103]


def test_an_offer_is_rented_once(client: Client) -> None:
    client.rent()
    with pytest.raises(RuntimeError, match="404 Client Error"):
        client.call("create_instance", id=102, image="any")
    rented = {row["id"]: row["rented"] for row in client.call("search_offers", query=QUERY)}
    assert rented == {102: True, 104: False, 105: False} or 102 not in rented


def test_the_bill_is_storage_from_creation_and_the_gpu_while_it_runs(client: Client) -> None:
    instance = client.rent(disk=100)
    client.await_status(instance, "running")
    client.call("stop_instance", id=instance)
    assert client.call("show_instance", id=instance)["actual_status"] == "exited"
    first = client.rig.truth()[0]
    time.sleep(0.5)
    second = client.rig.truth()[0]
    grown = second["bill_usd"] - first["bill_usd"]
    assert second["gpu_billed_s"] == first["gpu_billed_s"] > 0
    assert 0.5 * 0.15 * 100 / 720 / 3600 <= grown < 0.34 / 3600, "a stopped instance pays for its disk alone"
    client.call("destroy_instance", id=instance)
    last = client.rig.truth()[0]
    expected = last["gpu_billed_s"] * 0.34 / 3600 + (last["ended_at"] - last["created_at"]) * 0.15 * 100 / 720 / 3600
    assert last["bill_usd"] == pytest.approx(expected) and last["ended_by"] == "account"
    assert client.call("show_instances") == []


def test_an_instances_key_ends_that_instance_and_no_other(client: Client) -> None:
    row = client.await_status(client.rent(), "running")
    other = client.rent(label="other") if client.call("search_offers", query=QUERY)[0]["id"] != 102 else _rent_offer(client, 104)
    end = 'curl -s -o /dev/null -w "%{http_code}" -m 10 -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY" -d {} $VAST_URL/api/v0/instances/'
    assert client.ssh(row, f"{end}{other}/").stdout == "401"
    client.ssh(row, f"{end}{row['id']}/")  # the machine goes in the middle of its own call
    assert {one["id"]: one["ended_by"] for one in client.rig.truth()} == {row["id"]: "instance", other: None}


def _rent_offer(client: Client, offer: int) -> int:
    return int(client.call("create_instance", id=offer, image="any", disk=1, label="other")["new_contract"])


def test_it_misbehaves_when_told_to(client: Client) -> None:
    client.rig.misbehave(wrong_gpu="A100 SXM4", rate_factor=2.0, destroy_ignored=True, fail_after={"create": 1})
    with pytest.raises(RuntimeError, match="500 Server Error"):
        client.rent()
    (row,) = client.call("show_instances")
    assert row["gpu_name"] == "A100 SXM4" and row["dph_total"] > 2 * 0.34
    client.call("destroy_instance", id=row["id"])
    assert [one["id"] for one in client.call("show_instances")] == [row["id"]]
    with pytest.raises(RuntimeError, match="no such fault"):
        client.rig.misbehave(wrong_gup="A100")


def test_limits_bursts_other_names_and_a_key_that_is_gone(client: Client) -> None:
    rig = client.rig
    rig.misbehave(rate_limited={"list": 1}, bursts={"user": [1, 1]}, late_s=600.0)
    with pytest.raises(RuntimeError, match="500 Server Error"):
        client.call("show_user")
    assert client.call("show_user")["username"] == "rig"
    client.rent()
    code = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}))"
    bare = [sys.executable, "-c", code, f"{rig.env['VAST_URL']}/api/v0/instances/"]  # the real client waits and asks again
    assert "HTTP Error 429" in rig.run([*bare, rig.api_key]).stderr
    assert client.call("show_instances") == [], "it is listed late"
    rig.misbehave(late_s=0.0, renamed={"dph_total": "total_rate"})
    (row,) = client.call("show_instances")
    assert "dph_total" not in row and row["total_rate"] > 0.34
    rig.misbehave(key_revoked=True)
    assert "HTTP Error 401" in rig.run([*bare, rig.api_key]).stderr


def test_a_notice_before_it_is_preempted_and_new_host_keys(client: Client) -> None:
    trap = "trap 'touch ~/asked' TERM; while :; do sleep 0.1; done"
    instance = client.rent(onstart_cmd=f'setsid bash -c "{trap}" &')
    row = client.await_status(instance, "running")
    keys = ["ssh-keyscan", "-t", "ed25519", "-p", str(row["ssh_port"]), "127.0.0.1"]
    before = client.rig.run(keys).stdout
    client.rig.rekey(instance)
    after = client.rig.run(keys).stdout
    assert before.split()[-1] != after.split()[-1] and "ssh-ed25519" in after
    began = time.monotonic()
    client.rig.preempt(instance, notice_s=1.0, everyone=True)
    assert client.call("show_instance", id=instance)["actual_status"] == "running"
    client.await_status(instance, "exited")
    assert time.monotonic() - began >= 1.0
    client.call("start_instance", id=instance)
    assert client.ssh(client.await_status(instance, "running"), "ls ~/asked").returncode == 0


def test_a_reboot_keeps_the_disk_and_a_machine_without_a_gpu_has_no_nvidia_smi(client: Client) -> None:
    client.rig.offers = [replace(market.DEFAULT[1], has_gpu=False)]
    instance = client.rent(onstart_cmd="echo start >> ~/starts")
    client.await_status(instance, "running")
    client.rig.reboot(instance)
    said = client.ssh(client.await_status(instance, "running"), "sleep 0.3; cat ~/starts; nvidia-smi")
    assert said.stdout.split() == ["start", "start"] and said.returncode == 127


def test_nothing_is_left_after_close(rig: VastRig, tmp_path: Path) -> None:
    client = Client(rig, tmp_path)
    client.await_status(client.rent(onstart_cmd="setsid sleep 1000 &"), "running")
    stray = rig.popen(["sleep", "1000"])
    assert rig.leftovers(), "a running rig is seen"
    rig.close()
    assert rig.leftovers() == [] and stray.wait(5) != 0 and not rig.folder.exists()
    assert [row["ended_at"] for row in rig.truth()] == [None], "what was still rented is told"
