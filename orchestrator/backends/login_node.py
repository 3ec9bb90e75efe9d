"""One command on the login node of a Slurm cluster, through OpenSSH and the address book that SkyPilot reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator.run.ports import PortError

ADDRESS_BOOK = Path(".slurm/config")  # below the home
CONNECT_S = 10
ANSWER_S = 40.0  # slurmctld may be asked by a whole cluster


def on_login_node(cluster: str, words: list[str], refusal: str, address_book: Path | None = None) -> str:
    """What the command prints. ``words`` need no quoting in any shell; ``refusal``: what it means that it fails.

    Raises PortError, which is never "nothing there".
    """
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    argv = ["ssh", "-F", str(address_book or Path.home() / ADDRESS_BOOK), *options, "--", cluster, *words]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PortError(f"Slurm cluster {cluster} did not answer within {ANSWER_S:.0f} s") from error
    except OSError as error:
        raise PortError(f"ssh to Slurm cluster {cluster} could not be started: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-300:] or f"exit code {done.returncode}"
        raise PortError(f"Slurm cluster {cluster} {refusal}: {said}")
    return done.stdout.decode(errors="replace")
