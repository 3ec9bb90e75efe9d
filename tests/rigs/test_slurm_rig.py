"""The Slurm rig itself: it starts, runs and bills a job, and leaves nothing."""

import os
import time
from pathlib import Path

import pytest

from tests.rigs.slurm.rig import FREEZER, SlurmRig, reason_missing

pytestmark = [pytest.mark.rig, pytest.mark.skipif(reason_missing() is not None, reason=reason_missing() or "")]


def _inside(inode: int) -> list[int]:
    """Processes whose network namespace is the rig's."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{entry}/ns/net").st_ino == inode:
                found.append(int(entry))
        except OSError:  # it ended while we looked, or is not ours to look at
            continue
    return found


def test_a_job_is_run_and_billed_and_nothing_is_left() -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with SlurmRig(with_wheels=False) as rig:
        sinfo = rig.run(["sinfo", "-h", "-N", "-o", "%N %t %G"]).stdout.split("\n")
        assert sorted(filter(None, sinfo)) == ["gpu-a100 idle gpu:A100:1", "gpu-t4 idle gpu:T4:1"]
        script = "nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; setsid sleep 7654 & sleep 2"
        out = rig.folder / "out.txt"
        done = rig.run(
            [
                "sbatch",
                "--wait",
                "-p",
                "t4",
                "--gres=gpu:T4:1",
                "-J",
                "mine",
                "-o",
                str(out),
                "--wrap",
                f"PATH={rig.folder}/bin:$PATH; {script}",
            ]
        )
        assert done.returncode == 0, done.stderr
        assert out.read_text() == "Tesla T4, 580.65.06, 15360 MiB\n"
        deadline_s = time.monotonic() + 20
        while rig.truth()[0].end_s is None and time.monotonic() < deadline_s:
            time.sleep(0.2)
        (job,) = rig.truth()
        assert (job.name, job.node, job.gpu, job.gpus, job.state) == ("mine", "gpu-t4", "T4", 1, "COMPLETED")
        assert job.start_s is not None and job.end_s is not None and 2 <= job.end_s - job.start_s <= 15
        assert job.bill_usd == pytest.approx(0.20 * (job.end_s - job.start_s) / 3600)
        assert abs(job.end_s - time.time()) < 60
        assert rig._space is not None
        inode, folder = rig._space.inode, rig.folder
        assert _inside(inode)
    assert _inside(inode) == []
    assert not folder.exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason=f"needs control groups, version 1, at {FREEZER}")
def test_only_what_an_srun_holds_outlives_its_caller_where_slurm_keeps_cgroups() -> None:
    """A process that detaches itself ends with its step; a step whose srun the login node holds goes on, and ends with the job."""
    with SlurmRig(with_wheels=False, cgroups=True) as rig:
        tick = f"while :; do date +%s >> {rig.folder}/NAME; sleep 0.5; done"
        loop = {name: tick.replace("NAME", name) for name in ("detached", "held")}
        job = rig.run(["sbatch", "--parsable", "-p", "t4", "-o", "/dev/null", "--wrap", "sleep 300"], check=True).stdout.strip()
        deadline_s = time.monotonic() + 20
        while rig.truth()[-1].state != "RUNNING" and time.monotonic() < deadline_s:
            time.sleep(0.2)
        step = f"srun --overlap --quiet --jobid={job} --nodes=1 --ntasks=1 sh -c"
        ssh = ["ssh", "-F", f"{rig.home}/.slurm/config", "-o", "BatchMode=yes", rig.name]
        rig.run([*ssh, f"{step} 'setsid sh -c \"{loop['detached']}\" </dev/null >/dev/null 2>&1 & sleep 2'"], check=True, timeout=30)
        rig.run([*ssh, f"setsid nohup {step} '{loop['held']}' </dev/null >/dev/null 2>&1 &"], check=True, timeout=30)
        time.sleep(4)
        before = {name: (rig.folder / name).read_text() for name in loop}
        time.sleep(3)
        assert (rig.folder / "detached").read_text() == before["detached"] != ""
        assert len((rig.folder / "held").read_text()) > len(before["held"]) > 0
        rig.run(["scancel", job], check=True)
        deadline_s = time.monotonic() + 30
        while rig.truth()[-1].end_s is None and time.monotonic() < deadline_s:
            time.sleep(0.5)
        assert rig.job_orphans() == {}
        group = FREEZER / rig.folder.name
        assert group.exists()
    assert not group.exists()
