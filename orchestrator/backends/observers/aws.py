"""AWS, through its own client (``boto3``): the instances of every enabled region, and the volumes that they left behind.

What is listed carries the tags that SkyPilot gives at creation. A stopped instance is billed for its volumes; so is a
volume whose instance is gone, which is listed as a stopped instance with the volume's id. EC2 names no prices: the rate
comes from the table handed to the constructor, is 0.0 for what the table does not hold, and is 0.0 for whatever does not
compute, although its disk is billed. A volume that SkyPilot was not allowed to tag cannot be told from anybody's, and is
not listed. Allowed must be ec2:DescribeRegions, DescribeInstances, DescribeVolumes and DescribeInstanceTypes. Must not
create, change or end anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

from orchestrator.backends.observers.names import own_name
from orchestrator.errors import MissingExtra
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError

Rates = Mapping[tuple[str, str, bool], float]  # dollars an hour by instance type, region and whether it is spot

FIRST_REGION = "us-east-1"  # asked which regions there are, where the configuration names none
CONNECT_S, READ_S, TRIES = 5.0, 20.0, 3
AT_ONCE = 8  # regions
PAGE = 500
_TAGS = ("skypilot-cluster-name", "ray-cluster-name")  # sky/provision/constants.py
# where EC2's own description is wrong or missing: sky/catalog/data_fetchers/fetch_aws.py
_RENAMED = {
    "p3dn.24xlarge": ("V100-32GB", 8),
    "p4de.24xlarge": ("A100-80GB", 8),
    "p5.4xlarge": ("H100", 1),
    "p5e.48xlarge": ("H200", 8),
    "p5en.48xlarge": ("H200", 8),
}


class AwsObserver:
    """The Observer port.

    ``rates``: what EC2 does not say. ``regions``: None looks at every region that the account has enabled.
    ``credentials``: as ``boto3.Session`` takes them (``profile_name``, or ``aws_access_key_id`` and so on); None leaves
    it to boto3: variables, ``~/.aws``, an instance's role. ``page``: rows a reply, 5 to 1000.
    """

    title = "EC2's list of instances and volumes"

    def __init__(
        self,
        rates: Rates | None = None,
        regions: Sequence[str] | None = None,
        *,
        credentials: Mapping[str, str] | None = None,
        page: int = PAGE,
    ) -> None:
        self._rates: Rates = rates or {}
        self._regions = None if regions is None else tuple(regions)
        self._credentials, self._page = dict(credentials or {}), page

    def instances(self, name: str) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.everything() if instance.name == name)

    def everything(self) -> tuple[Instance, ...]:
        try:
            from boto3.session import Session
        except ImportError as error:
            raise MissingExtra("looking at AWS", "aws") from error
        try:
            session = Session(**self._credentials)
            if session.get_credentials() is None:
                raise PortError("no credentials of AWS: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY nor ~/.aws/credentials")
            regions = self._enabled(session) if self._regions is None else self._regions
            clients = [(region, _client(session, region)) for region in regions]  # in one thread: a session is not for several
        except PortError:
            raise
        except Exception as error:  # the client raises whatever its transport does; unknown is never "nothing there"
            raise PortError(f"AWS did not say which regions there are: {_cause(error)}") from error
        if not clients:
            raise PortError("AWS was not asked: there is no region to look at")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return tuple(instance for found in pool.map(lambda pair: self._look(*pair), clients) for instance in found)

    @staticmethod
    def _enabled(session: Any) -> tuple[str, ...]:
        ec2 = _client(session, session.region_name or FIRST_REGION)
        return tuple(sorted(row["RegionName"] for row in ec2.describe_regions()["Regions"]))  # without AllRegions: the enabled ones

    def _look(self, region: str, ec2: Any) -> list[Instance]:
        """What one region has. Volumes first: one made after them is not listed, rather than taken for a left one."""
        try:
            volumes, _ = self._all(ec2, "describe_volumes", "Volumes")
            reservations, now = self._all(ec2, "describe_instances", "Reservations")
            machines = [m for reservation in reservations for m in reservation["Instances"] if m["State"]["Name"] != "terminated"]
            named = [(machine, name) for machine in machines if (name := _name(machine)) is not None]
            gpus = self._gpus(ec2, {machine["InstanceType"] for machine, _ in named})
            found = [_machine(machine, name, now, gpus, self._rate(machine, region)) for machine, name in named]
            there = {machine["InstanceId"] for machine in machines}
            return found + [_volume(v, name, now) for v in volumes if _left(v, there) and (name := _name(v)) is not None]
        except Exception as error:
            raise PortError(f"AWS did not say what exists in {region}: {_cause(error)}") from error

    def _all(self, ec2: Any, call: str, what: str) -> tuple[list[dict[str, Any]], float]:
        """The rows of every page, and the time by Amazon's clock."""
        rows: list[dict[str, Any]] = []
        now = time.time()
        tagged = [{"Name": "tag-key", "Values": list(_TAGS)}]
        for page in ec2.get_paginator(call).paginate(Filters=tagged, PaginationConfig={"PageSize": self._page}):
            rows += page[what]
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
            now = parsedate_to_datetime(date).timestamp() if date else time.time()
        return rows, now

    def _gpus(self, ec2: Any, types: Iterable[str]) -> dict[str, tuple[str, int]]:
        """SkyPilot's name of the GPU of each instance type, and how many it has."""
        wanted = sorted(types)
        if not wanted:
            return {}
        pages = ec2.get_paginator("describe_instance_types").paginate(InstanceTypes=wanted)
        return {row["InstanceType"]: accelerator(row) for page in pages for row in page["InstanceTypes"]}

    def _rate(self, machine: Mapping[str, Any], region: str) -> float:
        if machine["State"]["Name"] not in ("pending", "running"):
            return 0.0
        return self._rates.get((machine["InstanceType"], region, machine.get("InstanceLifecycle") == "spot"), 0.0)


def accelerator(row: Mapping[str, Any]) -> tuple[str, int]:
    """SkyPilot's name of the GPU of a row of DescribeInstanceTypes, and how many there are; ("", 0): none."""
    kind = str(row["InstanceType"])
    gpus = (row.get("GpuInfo") or {}).get("Gpus") or []
    if kind in _RENAMED or not gpus:
        return _RENAMED.get(kind, ("", 0))
    return "RTXPRO6000" if kind.startswith("g7e.") else str(gpus[0]["Name"]), int(gpus[0]["Count"])


def _machine(machine: Mapping[str, Any], name: str, now: float, gpus: Mapping[str, tuple[str, int]], rate: float) -> Instance:
    """``now``: unix seconds by Amazon's clock."""
    state = machine["State"]["Name"]
    gpu, count = gpus[machine["InstanceType"]]
    # a restart sets LaunchTime anew; the first network interface was attached when the instance was made
    attachments = [card.get("Attachment") or {} for card in machine.get("NetworkInterfaces") or []]
    made = min([machine["LaunchTime"], *(a["AttachTime"] for a in attachments if a.get("DeviceIndex") == 0 and "AttachTime" in a)])
    return Instance(
        name=name,
        id=machine["InstanceId"],
        ready=state == "running",
        gpu=gpu,
        count=count,
        usd_per_hour=rate,
        age_s=max(0.0, now - made.timestamp()),
        stopped=state not in ("pending", "running"),
    )


def _volume(volume: Mapping[str, Any], name: str, now: float) -> Instance:
    return Instance(name=name, id=volume["VolumeId"], age_s=max(0.0, now - volume["CreateTime"].timestamp()), stopped=True)


def _left(volume: Mapping[str, Any], there: set[str]) -> bool:
    """Whether a volume of ours is billed with no machine of ours."""
    held = {attachment["InstanceId"] for attachment in volume.get("Attachments") or []}
    return volume["State"] not in ("deleting", "deleted") and not held & there


def _name(row: Mapping[str, Any]) -> str | None:
    """cloudtune's name from the tags of an instance or a volume."""
    tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags") or []}
    return next((name for key in _TAGS if (name := own_name(tags.get(key))) is not None), None)


def _client(session: Any, region: str) -> Any:
    from botocore.config import Config

    bounds = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"mode": "standard", "total_max_attempts": TRIES})
    return session.client("ec2", region_name=region, config=bounds)


def _cause(error: Exception) -> str:
    """EC2's error code where there is one. The rest of the text may hold identities and what was sent."""
    said = getattr(error, "response", None)
    code = said.get("Error", {}).get("Code") if isinstance(said, dict) else None
    return f"{getattr(error, 'operation_name', 'it')} answered {code}" if code else type(error).__name__
