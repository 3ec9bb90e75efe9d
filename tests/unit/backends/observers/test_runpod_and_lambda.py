"""RunPod's and Lambda's observers against servers on this machine that answer in the documented shapes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.observers import lambda_cloud, runpod
from orchestrator.backends.observers.lambda_cloud import LambdaObserver
from orchestrator.backends.observers.replies import Key
from orchestrator.backends.observers.runpod import RunPodObserver
from orchestrator.run.ports import Observer, PortError
from orchestrator.run.selection import instance_name

from .stub import SECRET, Cloud, running

pytestmark = pytest.mark.enable_socket

NAME = instance_name("0a1b2c", "00000001", 1)
OTHER = instance_name("0a1b2c", "00000001", 2)
SHOWN = f"{NAME}-89abcdef-head"  # sky/provision/{runpod/utils,lambda_cloud/instance}.py: f"{cluster_name_on_cloud}-{node_type}"
NOON = 1767355200.0  # 2026-01-02T12:00:00Z

# graphql-spec.runpod.io, version 1.1.0: type Pod, its PodRuntime (PodRuntimePorts) and PodMachineInfo; PodStatus is one of CREATED,
# RUNNING, RESTARTING, EXITED, PAUSED, DEAD, TERMINATED. All but createdAt and adjustedCostPerHr are also asked for by RunPod's own
# client (runpod-python, runpod/api/queries/pods.py). runtime is null until the container runs; sky/provision/runpod/utils.py reads
# its ports as here, and knows ports to be null at first.
POD: dict[str, Any] = {
    "id": "50qynxzilsxoey",
    "name": SHOWN,
    "desiredStatus": "RUNNING",
    "createdAt": "2026-01-02T11:00:00.000Z",
    "costPerHr": 0.44,
    "adjustedCostPerHr": 0.4,
    "gpuCount": 2,
    "volumeInGb": 73,
    "machine": {"gpuDisplayName": "RTX 4090"},
    "runtime": {
        "ports": [
            {"isIpPublic": False, "privatePort": 8266, "publicPort": 60000},
            {"isIpPublic": True, "privatePort": 22, "publicPort": 10022},
        ]
    },
}
# docs-api.lambda.ai/api/cloud, "List running instances", schemas Instance, InstanceType, InstanceTypeSpecs and InstanceStatus (booting,
# active, unhealthy, terminating, terminated, preempted); the same in the client generated from it (lambda-ai-cloud-api-client 2.4.1).
# name and ip are missing where there is none; there is no time of creation and no page token.
MACHINE: dict[str, Any] = {
    "id": "0920582c7ff041399e34823a0be62549",
    "name": SHOWN,
    "ip": "198.51.100.2",
    "status": "active",
    "region": {"name": "us-west-1", "description": "California, USA"},
    "instance_type": {
        "name": "gpu_8x_a100_80gb_sxm4",
        "description": "8x A100 (80 GB SXM4)",
        "gpu_description": "A100 (80 GB SXM4)",
        "price_cents_per_hour": 1432,
        "specs": {"vcpus": 240, "memory_gib": 1800, "storage_gib": 20480, "gpus": 8},
    },
    "ssh_key_names": ["sky-key"],
    "file_system_names": [],
}


def pods(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"myself": {"pods": list(rows)}}}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with running() as found:
        found.now = NOON
        monkeypatch.setenv("RUNPOD_API_BASE_URL", found.address)
        monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a loopback address is asked itself
        yield found


Make = Callable[[Cloud, str | None, float], Observer]


def a_runpod(cloud: Cloud, key: str | None = SECRET, timeout_s: float = 10.0) -> Observer:
    return RunPodObserver(key, timeout_s=timeout_s)


def a_lambda(cloud: Cloud, key: str | None = SECRET, timeout_s: float = 10.0) -> Observer:
    return LambdaObserver(key, api=f"{cloud.address}/api/v1", timeout_s=timeout_s)


both = pytest.mark.parametrize("make", [a_runpod, a_lambda])


# --- what is listed -------------------------------------------------------------------------------------------------


def test_a_pod(cloud: Cloud) -> None:
    cloud.document = pods(POD, POD | {"id": "x", "name": "my-box"}, POD | {"id": "y", "name": None})
    (pod,) = a_runpod(cloud).everything()
    assert (pod.name, pod.id, pod.ready, pod.gpu, pod.count) == (NAME, "50qynxzilsxoey", True, "RTX4090", 2)
    assert (pod.usd_per_hour, pod.age_s, pod.stopped) == (pytest.approx(0.41), 3601.0, False), "with 73 GB of disk"
    ((method, path, authorization, body),) = cloud.asked
    assert (method, path, authorization) == ("POST", "/graphql", f"Bearer {SECRET}")
    assert json.loads(body) == {"query": runpod.QUERY} and "mutation" not in runpod.QUERY


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"adjustedCostPerHr": None}, {"usd_per_hour": pytest.approx(0.45)}),
        ({"adjustedCostPerHr": 0}, {"usd_per_hour": pytest.approx(0.45)}),
        ({"createdAt": "2026-01-02 11:59:00.5 +0000 UTC"}, {"age_s": 60.5}),
        ({"createdAt": None}, {"age_s": None}),
        ({"createdAt": "yesterday"}, {"age_s": None}),
        ({"runtime": None}, {"ready": False, "stopped": False, "usd_per_hour": pytest.approx(0.41)}),
        ({"runtime": {"ports": [{"isIpPublic": False, "privatePort": 22, "publicPort": 22}]}}, {"ready": False}),
        ({"runtime": {"ports": None}}, {"ready": False, "stopped": False}),
        ({"desiredStatus": "CREATED", "runtime": None}, {"ready": False, "stopped": False, "usd_per_hour": pytest.approx(0.41)}),
        ({"desiredStatus": "EXITED", "runtime": None}, {"ready": False, "stopped": True, "usd_per_hour": pytest.approx(0.02)}),
        ({"desiredStatus": "EXITED"}, {"ready": False, "stopped": False, "usd_per_hour": pytest.approx(0.41)}),  # not down yet
        ({"desiredStatus": "TERMINATED"}, {"ready": False, "stopped": False, "usd_per_hour": pytest.approx(0.41)}),  # nor this
        ({"desiredStatus": "SOMETHING_NEW"}, {"ready": False, "stopped": False, "usd_per_hour": pytest.approx(0.41)}),
        ({"machine": None}, {"gpu": ""}),
    ],
)
def test_pods_in_other_states(cloud: Cloud, changed: dict[str, Any], expected: dict[str, Any]) -> None:
    cloud.document = pods(POD | changed)
    (pod,) = a_runpod(cloud).everything()
    assert {name: getattr(pod, name) for name in expected} == expected


def test_a_terminated_pod_without_a_runtime_is_gone(cloud: Cloud) -> None:
    cloud.document = pods(POD | {"desiredStatus": "TERMINATED", "runtime": None})
    assert a_runpod(cloud).everything() == ()


def test_a_machine_of_lambda(cloud: Cloud) -> None:
    nameless = {key: value for key, value in MACHINE.items() if key != "name"}
    cloud.document = {"data": [MACHINE, MACHINE | {"name": "my-box"}, nameless]}
    (machine,) = a_lambda(cloud).everything()
    assert (machine.name, machine.id, machine.ready) == (NAME, "0920582c7ff041399e34823a0be62549", True)
    assert (machine.gpu, machine.count, machine.usd_per_hour, machine.age_s) == ("A100-80GB", 8, 14.32, None)
    assert [asked[:3] for asked in cloud.asked] == [("GET", "/api/v1/instances", f"Bearer {SECRET}")]


@pytest.mark.parametrize(("status", "there"), [("booting", 1), ("unhealthy", 1), ("terminating", 1), ("terminated", 0), ("preempted", 0)])
def test_machines_in_other_states(cloud: Cloud, status: str, there: int) -> None:
    cloud.document = {"data": [MACHINE | {"status": status}]}
    found = a_lambda(cloud).everything()
    assert [(i.ready, i.usd_per_hour) for i in found] == [(False, 14.32)] * there


@both
def test_by_name_and_nothing_there(cloud: Cloud, make: Make) -> None:
    rows = [row | {"name": shown} for shown in (SHOWN, f"{OTHER}-89abcdef-head") for row in ([POD] if make is a_runpod else [MACHINE])]
    cloud.document = pods(*rows) if make is a_runpod else {"data": rows}
    assert [i.name for i in make(cloud, SECRET, 10.0).instances(OTHER)] == [OTHER]
    cloud.document = pods() if make is a_runpod else {"data": []}
    assert make(cloud, SECRET, 10.0).everything() == ()


# --- what is unknown is never empty ---------------------------------------------------------------------------------


def refused(cloud: Cloud, make: Make, timeout_s: float = 10.0) -> str:
    with pytest.raises(PortError) as caught:
        make(cloud, SECRET, timeout_s).everything()
    error: BaseException | None = caught.value
    while error is not None:  # whatever a traceback would show
        assert SECRET not in str(error) and SECRET not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return str(caught.value)


@both
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_http_says_no(cloud: Cloud, make: Make, status: int) -> None:
    cloud.status, cloud.document = status, {"error": {"code": "x", "message": f"key {SECRET}"}}
    assert f"HTTP {status}" in refused(cloud, make)


@both
@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"data": ', b"\xff\xfe", b"[" * 100_000, f'{{"data": NaN, "k": "{SECRET}"}}'.encode()])
def test_garbage(cloud: Cloud, make: Make, raw: bytes) -> None:
    cloud.raw = raw
    assert "not JSON" in refused(cloud, make)


@both
@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"data": None}, {"data": {}}, {"data": {"myself": None}}, {"data": {"myself": {}}}]
)
def test_another_shape(cloud: Cloud, make: Make, document: Any) -> None:
    cloud.document = document
    assert "another form" in refused(cloud, make)


@pytest.mark.parametrize("rows", [None, {}, "x", [1], [None]])
def test_rows_that_are_not_a_list_of_objects(cloud: Cloud, rows: Any) -> None:
    cloud.document = {"data": {"myself": {"pods": rows}}}
    assert "another form" in refused(cloud, a_runpod)
    cloud.document = {"data": rows}
    assert "another form" in refused(cloud, a_lambda)


@pytest.mark.parametrize("missing", ["id", "desiredStatus", "gpuCount"])
def test_a_pod_without_a_field(cloud: Cloud, missing: str) -> None:
    cloud.document = pods({key: value for key, value in POD.items() if key != missing})
    assert "another form" in refused(cloud, a_runpod)


@pytest.mark.parametrize("missing", ["id", "status", "instance_type"])
def test_a_machine_without_a_field(cloud: Cloud, missing: str) -> None:
    cloud.document = {"data": [{key: value for key, value in MACHINE.items() if key != missing}]}
    assert "another form" in refused(cloud, a_lambda)


def test_an_error_of_graphql_comes_with_http_200(cloud: Cloud) -> None:
    """GraphQL: errors beside data; runpod-python raises on errors[0].message (runpod/api/graphql.py)."""
    cloud.document = pods() | {"errors": [{"message": f"Cannot query field; {SECRET}"}]}
    assert "Cannot query field" in refused(cloud, a_runpod)


@both
def test_slow_is_bounded(cloud: Cloud, make: Make) -> None:
    """A byte every 0.2 s resets every socket's timeout; the whole is bounded all the same."""
    cloud.document, cloud.pause_s = {"data": "x" * 200}, 0.2
    began = time.monotonic()
    assert "within 0.6 s" in refused(cloud, make, timeout_s=0.6)
    assert time.monotonic() - began < 5.0


@both
def test_nobody_listens(cloud: Cloud, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cloud.address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RUNPOD_API_BASE_URL", cloud.address)
    assert "ConnectionRefusedError" in refused(cloud, make)


@both
def test_a_redirect_does_not_take_the_key_elsewhere(cloud: Cloud, make: Make) -> None:
    with running() as elsewhere:
        elsewhere.document = pods() if make is a_runpod else {"data": []}
        cloud.status, cloud.headers = 302, {"Location": elsewhere.address}
        assert "HTTP 302" in refused(cloud, make)
        assert elsewhere.asked == []


@both
@pytest.mark.parametrize("address", ["http://api.example.com", "ftp://127.0.0.1", "file:///etc/passwd", "api.example.com"])
def test_the_key_goes_over_https_or_stays_on_this_machine(cloud: Cloud, make: Make, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.address = address
    monkeypatch.setenv("RUNPOD_API_BASE_URL", address)
    assert "was not asked" in refused(cloud, make)


# --- the key --------------------------------------------------------------------------------------------------------


def written(home: Path, place: str, text: str) -> None:
    path = home / place.removeprefix("~/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_runpods_key_from_its_file_then_from_the_variable(cloud: Cloud, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """runpod-python: get_credentials reads the profile "default" of ~/.runpod/config.toml; sky/adaptors/runpod.py adds the variable."""
    cloud.document = pods()
    with pytest.raises(PortError, match=r"~/\.runpod/config\.toml.*RUNPOD_API_KEY"):
        a_runpod(cloud, None).everything()
    monkeypatch.setenv("RUNPOD_API_KEY", "of-the-variable")
    a_runpod(cloud, None).everything()
    written(own_home, runpod.KEY_FILE, '[default]\napi_key = "of-the-file"\n')
    a_runpod(cloud, None).everything()
    assert [asked[2] for asked in cloud.asked] == ["Bearer of-the-variable", "Bearer of-the-file"]


def test_lambdas_key_from_its_file(cloud: Cloud, own_home: Path) -> None:
    """sky/provision/lambda_cloud/lambda_utils.py: the line 'api_key = …' of ~/.lambda_cloud/lambda_keys."""
    cloud.document = {"data": []}
    with pytest.raises(PortError, match=r"~/\.lambda_cloud/lambda_keys"):
        a_lambda(cloud, None).everything()
    written(own_home, lambda_cloud.KEY_FILE, "# mine\napi_key = of-the-file\n")
    a_lambda(cloud, None).everything()
    assert [asked[2] for asked in cloud.asked] == ["Bearer of-the-file"]
    written(own_home, lambda_cloud.KEY_FILE, f"{SECRET}\n")
    with pytest.raises(PortError, match="has no line") as caught:
        a_lambda(cloud, None).everything()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", [f'[default]\napi_key = "{SECRET}', f'default = "{SECRET}"', f"[default]\napi_key = 1 # {SECRET}"])
def test_a_file_that_is_not_as_it_should_be(cloud: Cloud, own_home: Path, text: str) -> None:
    written(own_home, runpod.KEY_FILE, text)
    with pytest.raises(PortError, match=r"~/\.runpod/config\.toml") as caught:
        a_runpod(cloud, None).everything()
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize("bad", ["", f"{SECRET}\n", f"{SECRET} x", f"{SECRET}é"])
def test_a_key_that_no_header_takes_is_not_quoted(bad: str) -> None:
    with pytest.raises(PortError, match="the file holds no usable API key") as caught:
        Key(secret=bad, source="the file")
    assert SECRET not in str(caught.value)


@both
def test_the_key_is_named_and_not_shown_when_it_is_not_accepted(cloud: Cloud, make: Make, own_home: Path) -> None:
    written(own_home, runpod.KEY_FILE, f'[default]\napi_key = "{SECRET}"\n')
    written(own_home, lambda_cloud.KEY_FILE, f"api_key = {SECRET}\n")
    cloud.status = 401
    with pytest.raises(PortError, match=r"does not accept the API key of ~/\.") as caught:
        make(cloud, None, 10.0).everything()
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(Key(secret=SECRET, source="x"))


# --- names of GPUs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "sky"),
    [
        ("RTX 4090", "RTX4090"),
        ("A100 PCIe", "A100-80GB"),
        ("A100 SXM", "A100-80GB-SXM"),
        ("H100 PCIe", "H100"),
        ("H100 SXM", "H100-SXM"),
        ("RTX A6000", "RTXA6000"),
        ("RTX 6000 Ada", "RTX6000-Ada"),
        ("L40S", "L40S"),
    ],
)
def test_runpods_gpus(shown: str, sky: str) -> None:
    assert runpod.accelerator(shown) == sky


@pytest.mark.parametrize(
    ("kind", "sky"),
    [
        ("gpu_1x_a10", "A10"),
        ("gpu_1x_a100_sxm4", "A100"),
        ("gpu_8x_a100_80gb_sxm4", "A100-80GB"),
        ("gpu_1x_h100_pcie", "H100"),
        ("gpu_1x_gh200", "GH200"),
        ("gpu_8x_v100", "V100"),
    ],
)
def test_lambdas_gpus(kind: str, sky: str) -> None:
    assert lambda_cloud.accelerator(kind) == sky
