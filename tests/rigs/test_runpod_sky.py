"""The real SkyPilot on the RunPod rig: launch, a command, down; the Observer sees what is there, and then nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from orchestrator.backends.observers.names import own_name
from orchestrator.run.selection import instance_name
from tests.rigs.runpod.market import HOURS_PER_MONTH
from tests.rigs.runpod.pod import DISK_USD_PER_GB_MONTH
from tests.rigs.runpod.rig import RunPodRig
from tests.rigs.test_runpod_rig import pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.test_vast_rig import CACHE

pytest.importorskip("sky", reason="pip install 'cloudtune[sky]'")

BOUND_S = 200
NAME = instance_name("0a1b2c", "00000001", 1)
CLIENT = """
import json, sys, msgspec
import sky
from sky.skylet.autostop_lib import AutostopWaitFor
from orchestrator.backends.observers.runpod import RunPodObserver

name = sys.argv[1]
listed = lambda: msgspec.to_builtins(RunPodObserver().instances(name))
where = {"infra": "runpod/US/US-TX-3", "instance_type": "1x_RTX4090_SECURE", "disk_size": 12}
task = sky.Task.from_yaml_config({"resources": where})
_, handle = sky.get(sky.launch(task, cluster_name=name, down=True, idle_minutes_to_autostop=10, wait_for=AutostopWaitFor.NONE))
show = "nvidia-smi --query-gpu=name --format=csv,noheader; echo ${RUNPOD_POD_ID:?}"
code, shown, _ = handle.get_command_runners()[0].run(show, require_outputs=True, stream_logs=False)
seen = listed()
(status,) = sky.get(sky.status([name]))
sky.get(sky.down(name))
said = {"code": code, "shown": shown, "autostop": status["autostop"], "on_cloud": handle.cluster_name_on_cloud}
print(json.dumps(said | {"seen": seen, "after": listed()}))
"""


@pytest.mark.timeout(BOUND_S + 60.0)
def test_launch_a_task_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with RunPodRig() as rig:
        home = rig.make_home(tmp_path / "home")
        (home / ".sky/config.yaml").write_text("allowed_clouds: [runpod]\n")
        began_s = time.monotonic()
        done = rig.run([sys.executable, "-c", CLIENT, NAME], env={"HOME": str(home)}, cwd=tmp_path, timeout=BOUND_S)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-4000:] + rig.log()[-2000:]
        said = json.loads(done.stdout.splitlines()[-1])
        (truth,) = rig.truth()
        assert (
            (said["code"], said["autostop"]) == (0, 10)
            and own_name(said["on_cloud"]) == NAME
            and truth["label"] == f"{said['on_cloud']}-head"
        )
        assert said["shown"] == f"NVIDIA GeForce RTX 4090\n{truth['id']}\n"
        (seen,) = said["seen"]
        assert (seen["name"], seen["id"], seen["ready"], seen["stopped"]) == (NAME, truth["id"], True, False)
        disk = 12 * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH
        assert (seen["gpu"], seen["count"], seen["usd_per_hour"]) == ("RTX4090", 1, pytest.approx(0.69 + disk))
        assert 0 < seen["age_s"] < time.monotonic() - began_s
        assert said["after"] == [] and truth["ended_by"] == "account"
        assert (truth["asked_gpu"], truth["place"], truth["secure"], truth["disk_gb"]) == ("NVIDIA GeForce RTX 4090", "US-TX-3", True, 12)
