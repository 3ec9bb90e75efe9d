"""AWS's observer with the real boto3, against moto's server: EC2 over HTTP on this machine."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from orchestrator.backends.observers.aws import AwsObserver, _machine, accelerator
from orchestrator.errors import MissingExtra
from orchestrator.run.ports import PortError
from orchestrator.run.selection import instance_name

pytest.importorskip("boto3", reason="pip install 'cloudtune[aws]'")
pytest.importorskip("moto.server", reason="pip install 'moto[ec2,server]'")

pytestmark = pytest.mark.enable_socket

NAME = instance_name("0a1b2c", "00000001", 1)
OTHER = instance_name("0a1b2c", "00000001", 2)
SECRET = "wJalrXUtnFEMIsecretsecret"
EAST, WEST = "us-east-1", "eu-west-1"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def moto(address: str, path: str, body: bytes = b"") -> None:
    build_opener(ProxyHandler({})).open(
        Request(f"{address}/moto-api/{path}", data=body, headers={"Content-Type": "text/plain"}), timeout=10
    ).close()


@pytest.fixture
def cloud(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty account, and the variables with which boto3 finds it."""
    for variable in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    moto(address, "reset")
    yield address
    moto(address, "reset-auth", b"inf")


def ec2(region: str) -> Any:
    import boto3

    return boto3.client("ec2", region_name=region)


def tagged(shown: str, *kinds: str) -> list[dict[str, Any]]:
    """Tags as SkyPilot gives them at creation: sky/provision/aws/instance.py, ``_create_instances``."""
    tags = [{"Key": key, "Value": shown} for key in ("Name", "ray-cluster-name", "skypilot-cluster-name")]
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds]


def rent(region: str, shown: str, kind: str = "g5.xlarge", **more: Any) -> str:
    image = ec2(region).describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = ec2(region).run_instances(
        ImageId=image, InstanceType=kind, MinCount=1, MaxCount=1, TagSpecifications=tagged(shown, "instance", "volume"), **more
    )
    return str(made["Instances"][0]["InstanceId"])


def test_two_regions_and_what_is_said_of_each_instance(cloud: str) -> None:
    here = rent(EAST, f"{NAME}-89abcdef")
    spot = rent(WEST, f"{OTHER}-89abcdef", "p4d.24xlarge", InstanceMarketOptions={"MarketType": "spot"})
    rent(WEST, "a-colleagues-box")
    observer = AwsObserver({("g5.xlarge", EAST, False): 1.006, ("p4d.24xlarge", WEST, True): 9.5}, [EAST, WEST])
    first, second = observer.everything()
    assert (first.name, first.id, first.ready, first.gpu, first.count) == (NAME, here, True, "A10G", 1)
    assert (first.usd_per_hour, first.stopped) == (1.006, False)
    assert (second.name, second.id, second.gpu, second.count, second.usd_per_hour) == (OTHER, spot, "A100", 8, 9.5)
    assert first.age_s is not None and 0.0 <= first.age_s < 60.0
    assert [i.id for i in observer.instances(NAME)] == [here]
    assert AwsObserver(regions=[EAST]).everything()[0].usd_per_hour == 0.0


def test_every_enabled_region_is_looked_at(cloud: str) -> None:
    """Asked for in ap-south-1, which nobody names: only the list of regions leads there."""
    hidden = rent("ap-south-1", f"{NAME}-89abcdef")
    assert [i.id for i in AwsObserver().everything()] == [hidden]


def test_stopped_is_listed_and_terminated_is_not(cloud: str) -> None:
    stopped, ended = rent(EAST, f"{NAME}-89abcdef"), rent(EAST, f"{OTHER}-89abcdef")
    ec2(EAST).stop_instances(InstanceIds=[stopped])
    ec2(EAST).terminate_instances(InstanceIds=[ended])
    (found,) = AwsObserver({("g5.xlarge", EAST, False): 1.006}, [EAST]).everything()
    assert (found.id, found.stopped, found.ready, found.usd_per_hour) == (stopped, True, False, 0.0)


def test_a_volume_left_behind_is_listed_until_it_is_deleted(cloud: str) -> None:
    kept = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "DeleteOnTermination": False}}]
    machine = rent(EAST, f"{NAME}-89abcdef", BlockDeviceMappings=kept)
    foreign = ec2(EAST).create_volume(AvailabilityZone=f"{EAST}a", Size=1, TagSpecifications=tagged("someones", "volume"))
    observer = AwsObserver(regions=[EAST])
    assert [i.id for i in observer.everything()] == [machine]  # its volume is its own
    volume = next(v["VolumeId"] for v in ec2(EAST).describe_volumes()["Volumes"] if v["VolumeId"] != foreign["VolumeId"])
    ec2(EAST).terminate_instances(InstanceIds=[machine])
    (left,) = observer.instances(NAME)
    assert (left.id, left.stopped, left.ready, left.gpu, left.usd_per_hour) == (volume, True, False, "", 0.0)
    assert left.age_s is not None and 0.0 <= left.age_s < 60.0
    ec2(EAST).delete_volume(VolumeId=volume)
    assert observer.everything() == ()


def test_more_than_a_page(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient

    asked: list[str] = []
    real = BaseClient._make_api_call
    made = {rent(EAST, f"{instance_name('0a1b2c', '00000001', n)}-89abcdef") for n in range(6)}
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda self, name, given: (asked.append(name), real(self, name, given))[1])
    assert {i.id for i in AwsObserver(regions=[EAST], page=5).everything()} == made
    assert asked.count("DescribeInstances") == 2
    assert {name.removeprefix("Describe") for name in asked} == {"Volumes", "Instances", "InstanceTypes"}  # it only lists


def test_without_permission_it_is_unknown(cloud: str) -> None:
    import boto3

    iam = boto3.client("iam", region_name=EAST)
    iam.create_user(UserName="nobody")
    made = iam.create_access_key(UserName="nobody")["AccessKey"]
    who = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
    rent(EAST, f"{NAME}-89abcdef")
    moto(cloud, "reset-auth", b"0")
    for observer in (AwsObserver(credentials=who), AwsObserver(regions=[EAST], credentials=who)):
        with pytest.raises(PortError, match=r"UnauthorizedOperation|AccessDenied") as caught:
            observer.everything()
        assert made["SecretAccessKey"] not in str(caught.value)
    wrong = who | {"aws_secret_access_key": "wrong" + made["SecretAccessKey"]}
    with pytest.raises(PortError, match="AuthFailure") as caught:
        AwsObserver(regions=[EAST], credentials=wrong).everything()
    assert made["SecretAccessKey"] not in str(caught.value)


def test_one_region_that_does_not_answer_is_not_left_out(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient

    real = BaseClient._make_api_call

    def broken(self: Any, name: str, given: Any) -> Any:
        if self.meta.region_name == WEST and name == "DescribeInstances":
            return {"Reservations": None, "ResponseMetadata": {"HTTPHeaders": {}}}
        return real(self, name, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", broken)
    rent(EAST, f"{NAME}-89abcdef")
    with pytest.raises(PortError, match=WEST):
        AwsObserver(regions=[EAST, WEST]).everything()


def test_nobody_listens(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("orchestrator.backends.observers.aws.TRIES", 1)
    with pytest.raises(PortError, match="which regions") as caught:
        AwsObserver().everything()
    assert SECRET not in str(caught.value)
    with pytest.raises(PortError, match=WEST):
        AwsObserver(regions=[WEST]).everything()


def test_no_credentials_names_where_they_are_sought(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PortError, match=r"AWS_SECRET_ACCESS_KEY.*~/\.aws/credentials"):
        AwsObserver().everything()


def test_no_region_is_not_nothing_there(cloud: str) -> None:
    with pytest.raises(PortError, match="no region"):
        AwsObserver(regions=[]).everything()


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("boto3"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"\[aws\]"):
        AwsObserver().everything()


def test_the_module_alone_does_not_load_boto3() -> None:
    import subprocess

    code = "import sys, orchestrator.backends.observers.aws; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("state", "stopped"), [("pending", False), ("running", False), ("shutting-down", True), ("stopping", True)])
def test_a_restart_does_not_make_it_younger(state: str, stopped: bool) -> None:
    """EC2, type Instance: LaunchTime is of the last launch; the first is the AttachTime of the primary network interface."""
    row = {
        "InstanceId": "i-1",
        "InstanceType": "g5.xlarge",
        "State": {"Name": state},
        "LaunchTime": datetime.fromtimestamp(900.0, UTC),
        "NetworkInterfaces": [
            {"Attachment": {"DeviceIndex": 1, "AttachTime": datetime.fromtimestamp(1.0, UTC)}},
            {"Attachment": {"DeviceIndex": 0, "AttachTime": datetime.fromtimestamp(100.0, UTC)}},
        ],
    }
    found = _machine(row, NAME, 1000.0, {"g5.xlarge": ("A10G", 1)}, 1.0)
    assert (found.age_s, found.stopped, found.ready) == (900.0, stopped, state == "running")


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("g6.xlarge", [{"Name": "L4", "Count": 1}], ("L4", 1)),
        ("p5en.48xlarge", [{"Name": "NVIDIA", "Count": 8}], ("H200", 8)),
        ("p3dn.24xlarge", [{"Name": "V100", "Count": 8}], ("V100-32GB", 8)),
        ("g7e.2xlarge", [{"Name": "RTX PRO Server 6000", "Count": 1}], ("RTXPRO6000", 1)),
        ("m6i.large", [], ("", 0)),
    ],
)
def test_gpu_names(kind: str, said: list[dict[str, Any]], expected: tuple[str, int]) -> None:
    assert accelerator({"InstanceType": kind, **({"GpuInfo": {"Gpus": said}} if said else {})}) == expected
