"""The real SkyPilot on the Slurm rig: launch, a job, down; Slurm's own records say that nothing is left."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from orchestrator.backends.observers.names import own_name
from orchestrator.run.selection import instance_name
from tests.rigs.slurm import truth
from tests.rigs.slurm.rig import SlurmRig, reason_missing

pytest.importorskip("sky", reason="pip install 'cloudtune[sky]'")
pytestmark = [pytest.mark.rig, pytest.mark.skipif(reason_missing() is not None, reason=reason_missing() or "")]

BOUND_S = 140
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())  # before each test gets a home of its own
NAME = instance_name("0a1b2c", "00000001", 1)
CLIENT = """
import json, os, subprocess, sys
import sky
from sky.skylet.autostop_lib import AutostopWaitFor

name, accelerator = sys.argv[1:]
where = {"infra": f"slurm/rig/{accelerator.lower()}", "accelerators": {accelerator: 1}}
task = sky.Task.from_yaml_config({"resources": where, "config": {"slurm": {"sbatch_options": {"time": "20"}}}})
request = sky.launch(task, cluster_name=name, down=True, idle_minutes_to_autostop=10, wait_for=AutostopWaitFor.NONE)
launched_job, handle = sky.get(request)
show = "nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > ~/seen"
job = sky.Task.from_yaml_config({"resources": where, "run": show})
job_id, _ = sky.get(sky.exec(job, cluster_name=name))
code = sky.tail_logs(name, job_id, follow=True)
handle.get_command_runners()[0].rsync(source="~/seen", target=os.path.abspath("seen"), up=False, stream_logs=False)
limits = subprocess.run(["squeue", "--noheader", "--format=%l"], capture_output=True, text=True, check=True).stdout.split()
(status,) = sky.get(sky.status([name]))
sky.get(sky.down(name))
said = {"launched": launched_job, "code": code, "on_cloud": handle.cluster_name_on_cloud, "limits": limits}
print(json.dumps(said | {"autostop": status["autostop"], "to_down": status["to_down"]}))
"""


def test_launch_a_job_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with SlurmRig() as rig:
        home = rig.make_home(tmp_path / "home")
        began_s = time.monotonic()
        done = rig.run([sys.executable, "-c", CLIENT, NAME, "T4"], env={"HOME": str(home)}, cwd=tmp_path, timeout=BOUND_S)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert time.monotonic() - began_s < BOUND_S
        said = json.loads(done.stdout.splitlines()[-1])
        assert (said["launched"], said["code"], said["autostop"], said["to_down"]) == (None, 0, 10, True)
        assert said["limits"] == ["20:00"], "the task's own time limit is the batch job's"
        assert own_name(said["on_cloud"]) == NAME
        assert (tmp_path / "seen").read_text() == "Tesla T4, 580.65.06, 15360 MiB\n"
        (job,) = (job for job in rig.truth() if job.name == said["on_cloud"])
        assert (job.gpu, job.gpus) == ("T4", 1)
        assert job.start_s is not None and job.end_s is not None, "still there by Slurm's own records"
        assert job.bill_usd == pytest.approx(truth.PRICES_USD_PER_HOUR["T4"] * (job.end_s - job.start_s) / 3600)
        assert [one for one in rig.truth() if one.end_s is None] == []
        deadline_s = time.monotonic() + 20  # SkyPilot's own watcher of a job's processes notices a little later that they are gone
        while (orphans := rig.job_orphans()) and time.monotonic() < deadline_s:
            time.sleep(0.5)
        assert orphans == {}
