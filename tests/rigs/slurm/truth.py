"""What ran on the cluster, by Slurm's own records: the job completion file for what ended, scontrol for what has not."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

PRICES_USD_PER_HOUR = {"A100": 1.20, "T4": 0.20}
NODES = {"gpu-a100": "A100", "gpu-t4": "T4"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One Slurm job. Times are seconds since 1970, whole as Slurm keeps them; end_s is None while it has not ended, start_s while it has not begun."""

    id: int
    name: str
    node: str
    gpu: str
    gpus: int
    state: str
    start_s: int | None
    end_s: int | None
    bill_usd: float


def jobs(completed: str, alive: str, now_s: float) -> list[Job]:
    """completed: jobcomp/filetxt lines. alive: `scontrol show job -o`, which goes on listing a job for some minutes after its end."""
    rows = {int(row["JobId"]): row for row in map(_fields, alive.splitlines()) if "JobId" in row}
    for row in map(_fields, completed.splitlines()):
        if "JobId" in row:  # what scontrol said of it stays: the completion file does not know the GPUs
            rows[int(row["JobId"])] = rows.get(int(row["JobId"]), {}) | row
    return [_job(rows[job_id], now_s) for job_id in sorted(rows)]


def _fields(line: str) -> dict[str, str]:
    return {match[1]: match[2] for match in re.finditer(r"(?:^|\s)(\w+)=(\S*)", line)}


def _job(row: dict[str, str], now_s: float) -> Job:
    node = row.get("NodeList", "")
    gpu = NODES.get(node, "")
    match = re.search(r"gres[:/]gpu(?::[A-Za-z]\w*)?[:=](\d+)", row.get("TresPerNode", ""))  # gres:gpu:T4:1
    gpus = int(match[1]) if match else 0
    state = row["JobState"]
    start_s = _time_s(row.get("StartTime", ""))
    # scontrol gives a running job an EndTime too: the one its time limit would put
    end_s = None if state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED") else _time_s(row.get("EndTime", ""))
    if state in ("PENDING", "CONFIGURING"):
        start_s = None
    held_s = 0.0 if start_s is None else (now_s if end_s is None else end_s) - start_s
    bill_usd = PRICES_USD_PER_HOUR.get(gpu, 0.0) * gpus * max(held_s, 0.0) / 3600
    name = row.get("Name") or row.get("JobName", "")
    return Job(id=int(row["JobId"]), name=name, node=node, gpu=gpu, gpus=gpus, state=state, start_s=start_s, end_s=end_s, bill_usd=bill_usd)


def _time_s(text: str) -> int | None:
    """Slurm's daemons run in UTC here."""
    if not text or not text[0].isdigit():
        return None  # Unknown, None
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
