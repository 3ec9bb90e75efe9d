"""A real Slurm cluster of two nodes on one Linux machine, in namespaces of its own; README.md says what is real."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.rigs.slurm import files, ns, truth, wheels

NAME = "rig"
START_DEADLINE_S = 60.0
PROGRAMS = {
    "munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sinfo": "slurm-wlm", "sshd": "openssh-server", "rsync": "rsync",
    "socat": "socat", "nc": "netcat-openbsd", "ps": "procps", "lsof": "lsof", "sudo": "sudo", "ssh-keygen": "openssh-client",
}  # fmt: skip
FREEZER = Path("/sys/fs/cgroup/freezer")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def reason_missing() -> str | None:
    """What this machine lacks for the rig, and the command that gives it; None when the rig can start."""
    if not Path("/proc/self/ns/net").exists():
        return "the Slurm rig needs Linux namespaces"
    if os.geteuid() != 0:
        return "the Slurm rig needs root (namespaces, mounts, sshd): run it with sudo, or as root in a container started with --privileged"
    missing = {program: package for program, package in PROGRAMS.items() if shutil.which(program, path=SYSTEM_PATH) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        return f"the Slurm rig needs {', '.join(missing)}: apt-get install -y --no-install-recommends {packages}"
    if not Path("/usr/bin/python3.11").exists():
        return "the Slurm rig's nodes need Python 3.11: apt-get install -y python3.11"
    if subprocess.run(["unshare", "--net", "--mount", "--uts", "true"], capture_output=True, check=False).returncode != 0:
        return "the Slurm rig may not make namespaces here: run it as root outside a restricted container, or start that with --privileged"
    return None


class SlurmRig:
    """`with SlurmRig() as rig:` starts munged, sshd, slurmctld and two slurmd; leaving ends them and all that ran inside.

    home: the HOME to run commands with. env: their whole environment. name: what `--infra slurm/NAME` takes.
    cgroups: Slurm finds a step's processes by control group, as most clusters do, and not by their parents; needs FREEZER.
    with_wheels: nodes can install packages, from a wheelhouse fetched on first use.
    RuntimeError, with the daemons' logs, if the cluster is not up within 60 s.
    """

    name = NAME

    def __init__(self, *, with_wheels: bool = True, cgroups: bool = False) -> None:
        why = reason_missing()
        if why is not None:
            raise RuntimeError(why)
        self._wheelhouse = wheels.wheelhouse() if with_wheels else None
        self.folder = Path(tempfile.mkdtemp(prefix="ct-slurm-", dir="/var/tmp"))  # not /tmp: the nodes have a /tmp of their own
        self.home = self.folder / "home"
        self.orphans: list[str] = []
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._space: ns.Namespace | None = None
        self._cgroup = FREEZER / self.folder.name if cgroups else None
        files.write(self.folder, self._wheelhouse, cgroups=cgroups)
        self.make_home(self.home)
        self.env = self._environment()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def make_home(self, home: Path) -> Path:
        """Let `home` in: ssh's key and address book (`~/.slurm/config`), SkyPilot's settings with the rig's prices. May be called for several."""
        files.make_home(self.folder, home)
        return home

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """subprocess.run inside, as text, its output captured unless told otherwise."""
        if not {"stdout", "stderr", "capture_output"} & options.keys():
            options["capture_output"] = True
        inside = self._inside(argv, options.pop("cwd", None))
        return subprocess.run(inside, env={**self.env, **(env or {})}, text=True, check=options.pop("check", False), **options)

    def popen(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """subprocess.Popen inside, as text; its pid is the command's own."""
        return subprocess.Popen(self._inside(argv, options.pop("cwd", None)), env={**self.env, **(env or {})}, text=True, **options)

    def truth(self) -> list[truth.Job]:
        """Every job there has been, with its bill until now."""
        alive = self.run(["scontrol", "show", "job", "-o"], check=True, env={"TZ": "UTC"}).stdout
        completed = (self.folder / "jobcomp.log").read_text() if (self.folder / "jobcomp.log").exists() else ""
        return truth.jobs(completed, alive, time.time())

    def job_orphans(self) -> dict[int, str]:
        """Processes that a job left behind, by pid: proctrack/linuxproc loses whoever detaches itself from its step."""
        assert self._space is not None
        alive = {str(job.id) for job in self.truth() if job.end_s is None}
        found = {}
        for pid in self._space.pids():
            job_id = ns.environment(pid).get("SLURM_JOB_ID")
            if job_id is not None and job_id not in alive:
                found[pid] = f"pid {pid} of job {job_id}: {_command_line(pid)}"
        return found

    def stop_controller(self) -> None:
        """A fault: slurmctld is gone. What runs goes on, and nobody can ask about it."""
        self._daemons["slurmctld"].terminate()
        self._daemons["slurmctld"].wait(timeout=20)

    def close(self) -> None:
        """End every process inside by its id, report those that ended jobs had left in `orphans`, remove the files. May be called twice."""
        space, self._space = self._space, None
        try:
            if space is not None:
                self._space = space
                try:
                    if self._answers():
                        self._cancel_jobs()
                        found = self.job_orphans()
                        self.orphans += found.values()
                        space.end(list(found))
                finally:
                    self._space = None
                    space.close()
            for daemon in self._daemons.values():
                daemon.wait()
            self._daemons = {}
            if self._cgroup is not None and self._cgroup.exists():
                for inner, _, _ in os.walk(self._cgroup, topdown=False):
                    Path(inner).rmdir()
        finally:
            shutil.rmtree(self.folder, ignore_errors=space is None)

    def _inside(self, argv: Sequence[str], folder: str | Path | None = None) -> list[str]:
        assert self._space is not None, "the rig is not running"
        return self._space.argv(argv, folder or Path.cwd())

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SKYPILOT_", "SLURM_", "PIP_", "UV_"))}
        env = kept | {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", "") + ":" + SYSTEM_PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            "SKYPILOT_API_SERVER_LOCAL_PORT": "46590",
        }
        if self._wheelhouse is not None:  # SkyPilot builds its own wheel with pip, which fetches setuptools
            env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self._wheelhouse), "PIP_CONFIG_FILE": os.devnull}
        return env

    def _start(self) -> None:
        if self._cgroup is not None:
            self._cgroup.mkdir()
        self._space = ns.Namespace(files.SETUP, [str(self.folder), str(self._cgroup or "")])
        self._daemon("munged", ["munged", "--foreground", "--force", "--key-file", f"{self.folder}/munge.key", "--seed-file", f"{self.folder}/munge.seed",
                                "--log-file", f"{self.folder}/munged.log", "--pid-file", f"{self.folder}/munged.pid"])  # fmt: skip
        self._wait_for("munged", lambda: self.run(["munge", "-n"]).returncode == 0)
        self._daemon("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", f"{self.folder}/sshd_config"])
        self._daemon("slurmctld", ["slurmctld", "-D", "-c"])
        for node in truth.NODES:
            self._daemon(f"slurmd-{node}", ["slurmd", "-D", "-N", node])
        self._wait_for("the two nodes", self._is_up)

    def _daemon(self, name: str, argv: Sequence[str]) -> None:
        # A /tmp of their own, so that SkyPilot's runtime and uv's cache are not left in the machine's.
        private_tmp = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-c",
            'mount --bind "$0" /tmp && exec "$@"',
            f"{self.folder}/tmp",
        ]
        env = {
            "PATH": f"{self.folder}/bin:{SYSTEM_PATH}",
            "SLURM_CONF": self.env["SLURM_CONF"],
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "HOME": f"{self.folder}/login",
        }
        with open(self.folder / f"{name}.out", "wb") as log:
            self._daemons[name] = subprocess.Popen(
                self._inside([*private_tmp, *argv]), env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _is_up(self) -> bool:
        states = self.run(["sinfo", "-h", "-N", "-o", "%N %t"]).stdout.split("\n")
        ssh = self.run(["ssh", "-F", f"{self.home}/.slurm/config", "-o", "BatchMode=yes", NAME, "true"])
        return sorted(filter(None, states)) == sorted(f"{node} idle" for node in truth.NODES) and ssh.returncode == 0

    def _wait_for(self, what: str, ready: Any) -> None:
        deadline_s = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline_s:
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    raise RuntimeError(f"{name} of the Slurm rig ended with {daemon.returncode}:\n{self._logs()}")
            if ready():
                return
            time.sleep(0.2)
        raise RuntimeError(f"{what} of the Slurm rig did not come up within {START_DEADLINE_S:.0f} s:\n{self._logs()}")

    def _logs(self) -> str:
        found = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")])
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in found)

    def _answers(self) -> bool:
        return "slurmctld" in self._daemons and self._daemons["slurmctld"].poll() is None and self.run(["scontrol", "ping"]).returncode == 0

    def _cancel_jobs(self) -> None:
        """Ended as Slurm ends jobs, so that what survives that is seen to survive it."""
        self.run(["scancel", "--full", "--signal=TERM", "--state=RUNNING", "--user=root"])
        self.run(["scancel", "--user=root"])
        deadline_s = time.monotonic() + 20
        while any(job.end_s is None for job in self.truth()) and time.monotonic() < deadline_s:
            time.sleep(0.3)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "(gone)"
