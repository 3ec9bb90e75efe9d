"""The RunPod rig itself: its pods are real machines, its bill is its own, and nothing is left of it. Clients run as processes inside."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.machines.rig import Rig
from tests.rigs.runpod.rig import RunPodCloud, RunPodRig, reason_missing
from tests.rigs.test_vast_rig import CACHE
from tests.rigs.vast.rig import VastCloud

pytestmark = [pytest.mark.rig, pytest.mark.skipif(reason_missing() is not None, reason=str(reason_missing()))]
RTX = "NVIDIA GeForce RTX 4090"
BOUND_S = 30.0
# The provider's real client, asked line by line: importing it takes two seconds.
SERVE = """
import json, sys, runpod
from runpod.api import graphql
for line in sys.stdin:
    runpod.api_key, method, arguments = json.loads(line)
    try:
        said = {"answer": getattr(runpod, method, getattr(graphql, method, None))(**arguments)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
"""
FAULTLESS: dict[str, Any] = {
    "wrong_gpu": None,
    "rate_factor": 1.0,
    "never_ready": False,
    "no_capacity": False,
    "late_s": 0.0,
    "destroy_ignored": False,
    "deny_instance_key": False,
    "key_revoked": False,
    "timers_ignored": False,
    "fail_status": 500,
    "fail_before": {},
    "fail_after": {},
    "rate_limited": {},
    "bursts": {},
    "renamed": {},
}


def as_command(script: str) -> str:
    """dockerArgs in the form that SkyPilot sends (sky/provision/runpod/utils.py), but with one process."""
    encoded = base64.b64encode(script.encode()).decode()
    return f"bash -c 'echo {encoded} | base64 --decode > init.sh; exec bash init.sh'"


class Client:
    """One user of the rig, with the real client in a process inside."""

    def __init__(self, rig: Rig, cloud: RunPodCloud, home: Path) -> None:
        self.rig, self.cloud, self.home = rig, cloud, rig.make_home(home)
        key = home / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        pipe = subprocess.PIPE
        self.process = rig.popen([sys.executable, "-c", SERVE], env={"HOME": str(home)}, stdin=pipe, stdout=pipe, text=True)
        self.call("update_user_settings", pubkey=key.with_suffix(".pub").read_text().strip())

    def close(self) -> None:
        """Let the client end by itself, unless the rig has ended it."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait(10)

    def opens(self) -> str:
        """What a command of one's own has to do for the pod to be reached."""
        public = (self.home / "key.pub").read_text().strip()
        return f'mkdir -p ~/.ssh; echo "{public}" > ~/.ssh/authorized_keys; service ssh restart'

    def call(self, method: str, *, key: str | None = None, **arguments: Any) -> Any:
        self.process.stdin.write(json.dumps([key or self.cloud.api_key, method, arguments]) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["answer"]

    def query(self, query: str, *, key: str | None = None) -> Any:
        return self.call("run_graphql_query", key=key, query=query)["data"]

    def rent(self, **arguments: Any) -> str:
        """Rent an RTX 4090 and wait for nothing."""
        order = {"name": "t", "image_name": "any", "gpu_type_id": RTX, "container_disk_in_gb": 1, "ports": "22/tcp,8888/http", **arguments}
        return str(self.call("create_pod", **order)["id"])

    def rent_until(self, **fields: float | str) -> str:
        """The same with terminateAfter or stopAfter, which the client has no argument for; a number is seconds from now."""
        from runpod.api.mutations.pods import generate_pod_deployment_mutation

        order = generate_pod_deployment_mutation("t", "any", RTX, container_disk_in_gb=1)
        for name, when in fields.items():
            text = when if isinstance(when, str) else datetime.fromtimestamp(time.time() + when, UTC).isoformat()
            order = order.replace("input: {", f'input: {{ {name}: "{text}",', 1)
        return str(self.query(order)["podFindAndDeployOnDemand"]["id"])

    def await_running(self, pod: str) -> dict[str, Any]:
        return self.await_that(lambda: (row := self.call("get_pod", pod_id=pod))["runtime"] and row)

    def await_that(self, ask: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + BOUND_S
        while not (found := ask()):
            assert time.monotonic() < deadline, self.cloud.log()
            time.sleep(0.1)
        return found

    def await_truth(self, pod: str, name: str, value: object) -> dict[str, Any]:
        return dict(self.await_that(lambda: (row := self.truth(pod))[name] == value and row))

    def truth(self, pod: str) -> dict[str, Any]:
        return next(row for row in self.cloud.truth() if row["id"] == pod)

    def await_ssh(self, row: dict[str, Any], command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it once the pod's own sshd answers."""
        return self.await_that(lambda: (said := self.ssh(row, command, *options)).returncode != 255 and said)

    def ssh(self, row: dict[str, Any], command: str, *options: str) -> subprocess.CompletedProcess[str]:
        (port,) = (port for port in row["runtime"]["ports"] if port["privatePort"] == 22 and port["isIpPublic"])
        usual = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
        set_options = [part for one in (*options, *usual) for part in ("-o", one)]  # the first of two counts
        argv = ["ssh", "-i", str(self.home / "key"), *set_options, "-p", str(port["publicPort"]), f"root@{port['ip']}", command]
        return self.rig.run(argv)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        with RunPodRig() as rig:
            rig.gpus = [replace(gpu, boot_s=0.2) for gpu in rig.gpus]
            with contextlib.closing(Client(rig, rig.cloud, tmp_path_factory.mktemp("runpod"))) as client:
                yield client


@pytest.fixture
def client(shared: Client) -> Iterator[Client]:
    yield shared
    shared.cloud.misbehave(**FAULTLESS)
    for row in shared.call("get_pods"):
        shared.call("terminate_pod", pod_id=row["id"])


def test_a_pod_from_the_price_list_to_its_end(client: Client) -> None:
    assert {"id": RTX, "displayName": "RTX 4090", "memoryInGb": 24} in client.call("get_gpus")
    gpu = client.call("get_gpu", gpu_id=RTX)
    assert (gpu["securePrice"], gpu["lowestPrice"]["uninterruptablePrice"], gpu["maxGpuCount"]) == (0.69, 0.34, 8)
    pod = client.rent(cloud_type="SECURE", data_center_id="US-TX-3", env={"GREETING": "hello there"})
    row = client.await_running(pod)
    assert [one["id"] for one in client.call("get_pods")] == [pod]
    assert (row["desiredStatus"], row["costPerHr"], row["machine"], row["env"]) == (
        "RUNNING",
        0.69,
        {"gpuDisplayName": "RTX 4090"},
        ["GREETING=hello there"],
    )
    said = client.await_ssh(
        row, "hostname; nvidia-smi --query-gpu=name,memory.total --format=csv,noheader; ip -o link | cut -d: -f2; echo [$GREETING]"
    )
    assert said.stdout.splitlines() == [pod, f"{RTX}, 24576 MiB", " lo", "[]"], "what was ordered is in the command's environment alone"
    seen = client.ssh(row, "tr '\\0' '\\n' </proc/1/environ | grep -E '^(GREETING|RUNPOD_POD_ID|RUNPOD_DC_ID)=' | sort")
    assert seen.stdout.splitlines() == ["GREETING=hello there", "RUNPOD_DC_ID=US-TX-3", f"RUNPOD_POD_ID={pod}"]
    full = client.ssh(row, "dd if=/dev/zero of=/filler bs=1M count=2000 2>&1")
    assert full.returncode != 0 and "No space left on device" in full.stdout
    client.call("terminate_pod", pod_id=pod)
    assert client.call("get_pods") == [] and client.call("get_pod", pod_id=pod) is None
    last = client.truth(pod)
    lasted = last["ended_at"] - last["created_at"]
    assert last["bill_usd"] == pytest.approx(lasted * (0.69 + 1 * 0.10 / 730) / 3600) and last["ended_by"] == "account"


def test_a_stopped_pod_loses_its_disk_keeps_its_volume_and_pays_for_that_alone(client: Client) -> None:
    pod = client.rent(volume_in_gb=1, volume_mount_path="/workspace")
    client.await_ssh(client.await_running(pod), "touch /workspace/kept ~/lost")
    assert client.call("stop_pod", pod_id=pod)["desiredStatus"] == "EXITED"
    row = client.call("get_pod", pod_id=pod)
    assert row["runtime"] is None and row["lastStatusChange"].startswith("Exited by User: ")
    first = client.truth(pod)
    time.sleep(0.5)
    second = client.truth(pod)
    grown = second["bill_usd"] - first["bill_usd"]
    assert second["gpu_billed_s"] == first["gpu_billed_s"] > 0
    assert 0.5 * 1 * 0.20 / 730 / 3600 <= grown < 0.34 / 3600
    client.call("resume_pod", pod_id=pod, gpu_count=1)
    seen = client.await_ssh(client.await_running(pod), "ls /workspace; ls ~/lost")
    assert seen.stdout == "kept\n" and seen.returncode == 2


def test_the_ordered_command_is_what_opens_the_pod(client: Client) -> None:
    pod = client.rent(docker_args=as_command(f"sleep 1; {client.opens()}; sleep infinity"), start_ssh=False)
    row = client.await_running(pod)
    assert client.ssh(row, "true").returncode == 255, "running, and no sshd yet"
    assert client.await_ssh(row, "ls /init.sh").stdout == "/init.sh\n"


def test_a_pods_key_ends_that_pod_and_no_other(client: Client) -> None:
    pod, other = client.rent(), client.rent()
    row = client.await_running(pod)
    key = client.await_ssh(row, "tr '\\0' '\\n' </proc/1/environ | sed -n s/^RUNPOD_API_KEY=//p").stdout.strip()
    for refused in (f'mutation {{ podTerminate(input: {{ podId: "{other}" }}) }}', "query { myself { pods { id } } }"):
        with pytest.raises(RuntimeError, match="QueryError: Unauthorized"):
            client.query(refused, key=key)
    assert client.call("get_pod", pod_id=pod, key=key)["id"] == pod
    with pytest.raises(RuntimeError, match="AuthenticationError"):
        client.call("get_pods", key="wrong")
    end = {"query": "mutation($p: String!) { podTerminate(input: {podId: $p}) }", "variables": {"p": pod}}
    inside = 'curl -s -m 10 -H "Authorization: Bearer $(tr "\\0" "\\n" </proc/1/environ | sed -n s/^RUNPOD_API_KEY=//p)"'
    client.ssh(row, f"{inside} -d {shlex.quote(json.dumps(end))} $RUNPOD_API_BASE_URL/graphql")  # the machine goes in the middle of it
    assert client.truth(pod)["ended_by"] == "instance" and client.truth(other)["ended_by"] is None


def test_what_is_not_there_is_refused_as_the_real_client_tells_it(client: Client) -> None:
    no_instances = "QueryError: There are no longer any instances available"
    for order in ({"country_code": "SE"}, {"gpu_count": 9}, {"min_memory_in_gb": 1000}, {"data_center_id": "US-KS-2"}):
        with pytest.raises(RuntimeError, match=no_instances):
            client.rent(**order)
    client.rent(gpu_type_id="NVIDIA L4", data_center_id="EU-RO-1", country_code="RO")
    with pytest.raises(RuntimeError, match=no_instances):
        client.rent(gpu_type_id="NVIDIA L4")
    stock = "query { gpuTypes(input: {id: %s}) { lowestPrice(input: {gpuCount: 1, secureCloud: true}) { stockStatus } } }"
    assert [client.query(stock % json.dumps(gpu))["gpuTypes"][0]["lowestPrice"]["stockStatus"] for gpu in (RTX, "NVIDIA L4")] == [
        "High",
        None,
    ]
    with pytest.raises(RuntimeError, match="Cannot query field 'ssn' on type 'Pod'"):
        client.query("query { myself { pods { ssn } } }")


def test_spot_has_a_bid_and_a_notice(client: Client) -> None:
    assert isinstance(client.rig, RunPodRig)
    script = f"{client.opens()}; trap 'touch /workspace/asked' TERM; while :; do sleep 0.1; done"
    fields = f'cloudType: SECURE, gpuTypeId: "{RTX}", containerDiskInGb: 1, volumeInGb: 1, volumeMountPath: "/workspace", ports: "22/tcp"'
    order = f'mutation {{ podRentInterruptable(input: {{ bidPerGpu: BID, {fields}, dockerArgs: "{as_command(script)}" }}) {{ id }} }}'
    with pytest.raises(RuntimeError, match="no longer any instances"):
        client.query(order.replace("BID", "0.1"))
    pod = client.query(order.replace("BID", "0.36"))["podRentInterruptable"]["id"]
    row = client.await_running(pod)
    assert row["costPerHr"] == 0.36 and row["podType"] == "INTERRUPTABLE"
    trap = "trap 'touch /workspace/everyone' TERM; echo ready; while :; do sleep 0.1; done"
    for everyone, expected in ((False, "asked\n"), (True, "asked\neveryone\n")):
        client.await_ssh(row, f"setsid bash -c {shlex.quote(trap)} >/dev/null 2>&1 </dev/null &")
        began = time.monotonic()
        client.rig.preempt(pod, notice_s=1.0, everyone=everyone)
        assert client.call("get_pod", pod_id=pod)["desiredStatus"] == "RUNNING"
        client.await_truth(pod, "status", "exited")
        assert time.monotonic() - began >= 1.0
        client.query(f'mutation {{ podBidResume(input: {{ podId: "{pod}", bidPerGpu: 0.4 }}) {{ id }} }}')
        row = client.await_running(pod)
        assert client.await_ssh(row, "ls /workspace").stdout == expected and row["costPerHr"] == 0.4


def test_timers_of_the_create_call(client: Client) -> None:
    with pytest.raises(RuntimeError, match="DateTime cannot represent"):
        client.rent_until(terminateAfter="1h")
    ends, stops, never = client.rent_until(terminateAfter=3.0), client.rent_until(stopAfter=2.0), client.rent_until(terminateAfter=-5.0)
    client.await_running(never)
    row = client.await_truth(ends, "ended_by", "timer")
    assert 2.5 < row["ended_at"] - row["created_at"] < 8
    assert client.call("get_pod", pod_id=stops)["desiredStatus"] == "EXITED"
    assert client.call("get_pod", pod_id=never)["desiredStatus"] == "RUNNING", "a time that is past never comes"
    client.cloud.misbehave(timers_ignored=True)
    ignored = client.rent_until(terminateAfter=0.5)
    time.sleep(1.5)
    assert client.truth(ignored)["ended_at"] is None


def test_it_misbehaves_when_told_to(client: Client) -> None:
    wrong = "NVIDIA A100-SXM4-80GB"
    client.cloud.misbehave(wrong_gpu=wrong, rate_factor=2.0, destroy_ignored=True, fail_after={"create": 1}, fail_before={"list": 1})
    with pytest.raises(RuntimeError, match="create failed after its effect"):
        client.rent()
    with pytest.raises(RuntimeError, match="list failed before its effect"):
        client.call("get_pods")
    (row,) = client.call("get_pods")
    assert row["machine"]["gpuDisplayName"] == "A100 SXM" and row["costPerHr"] == pytest.approx(2 * 0.34)
    client.call("terminate_pod", pod_id=row["id"])
    assert [one["id"] for one in client.call("get_pods")] == [row["id"]]
    client.cloud.misbehave(destroy_ignored=False, no_capacity=True)
    with pytest.raises(RuntimeError, match="no longer any instances"):
        client.rent()
    client.cloud.misbehave(no_capacity=False, never_ready=True, late_s=1.5)
    late = client.rent()
    assert late not in [one["id"] for one in client.call("get_pods")]
    time.sleep(1.6)
    shown = next(one for one in client.call("get_pods") if one["id"] == late)
    assert shown["runtime"] is None and shown["desiredStatus"] == "RUNNING" and client.truth(late)["gpu_billed_s"] > 1.5
    client.cloud.ask("vanish", id=late)
    assert client.truth(late)["ended_by"] == "provider"
    with pytest.raises(RuntimeError, match="no such fault"):
        client.cloud.misbehave(wrong_gup="A100")


def test_lists_that_fail_in_bursts_a_limit_a_key_that_is_gone_and_another_schema(client: Client) -> None:
    def works() -> bool:
        try:
            return client.call("get_pods") == []
        except RuntimeError as error:
            assert "failed before" in str(error)
            return False

    client.cloud.misbehave(bursts={"list": [2, 1]}, fail_status=200)
    assert [works() for _ in range(6)] == [False, False, True, False, False, True]
    client.cloud.misbehave(bursts={}, rate_limited={"any": 1})
    with pytest.raises(RuntimeError, match="too many requests"):
        client.call("get_user")
    client.cloud.misbehave(renamed={"costPerHr": "hourlyCost"})
    with pytest.raises(RuntimeError, match="Cannot query field 'costPerHr'"):
        client.call("get_pods")
    client.rent()
    assert client.query("query { myself { pods { hourlyCost } } }")["myself"]["pods"] == [{"hourlyCost": 0.34}]
    client.cloud.misbehave(renamed={}, key_revoked=True)
    with pytest.raises(RuntimeError, match="AuthenticationError"):
        client.call("get_pods")


def test_a_reboot_keeps_the_disk_and_new_host_keys_are_noticed(client: Client, tmp_path: Path) -> None:
    assert isinstance(client.rig, RunPodRig)
    pod = client.rent()
    known = (f"UserKnownHostsFile={tmp_path / 'known'}", "LogLevel=INFO")
    row = client.await_running(pod)
    client.await_ssh(row, "touch ~/kept", *known)
    client.rig.reboot(pod)
    assert client.call("get_pod", pod_id=pod)["runtime"] is None
    row = client.await_running(pod)
    strict = (known[0], "StrictHostKeyChecking=yes", "LogLevel=INFO")
    assert client.await_ssh(row, "ls ~/kept; hostname", *strict).stdout.split()[-1] == pod
    client.rig.rekey(pod)
    client.await_that(lambda: "HOST IDENTIFICATION HAS CHANGED" in client.ssh(row, "true", *strict).stderr)
    assert client.ssh(row, "ls ~/kept").returncode == 0


def test_both_clouds_in_one_namespace_and_nothing_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with Rig(VastCloud, RunPodCloud) as rig:
        runpod, vast = rig.clouds["runpod"], rig.clouds["vast"]
        assert isinstance(runpod, RunPodCloud)
        client = Client(rig, runpod, tmp_path)
        pod = client.rent()
        rent = "import vastai_sdk as v; print(v.VastAI().create_instance(id=102, image='any', disk=1)['new_contract'])"
        said = rig.run([sys.executable, "-c", rent], env={"HOME": str(tmp_path)})
        client.await_ssh(client.await_running(pod), "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
        assert [(row["cloud"], str(row["id"])) for row in rig.truth()] == [("vast", said.stdout.strip()), ("runpod", pod)], said.stderr
        assert 0 < rig.bill_usd() == pytest.approx(sum(row["bill_usd"] for row in vast.truth() + runpod.truth()), rel=0.2)
        lists = (tmp_path / ".sky/catalogs/v8/common/accelerators.csv").read_text()
        assert 'RTX4090,"runpod,vast"' in lists
        assert rig.leftovers(), "a running rig is seen"
    assert rig.leftovers() == [] and client.process.wait(5) != 0 and not rig.folder.exists()
    client.close()
    assert [row["ended_at"] for row in rig.truth()] == [None, None], "what was still rented is told"
