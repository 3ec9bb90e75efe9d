"""The instance's `nvidia-smi`: a stand-in, because the rig has no GPU. It prints what the offer promises, or another GPU on request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PATH = "usr/bin/nvidia-smi"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What nvidia-smi says. `name` is NVIDIA's own spelling ("NVIDIA GeForce RTX 4090")."""

    name: str
    count: int
    memory_mib: int
    driver_version: str
    cuda: float  # the newest CUDA that the driver can run


def spelled(gpu_name: str) -> str:
    """NVIDIA's spelling of a provider's `gpu_name`."""
    if gpu_name.startswith("A100 SXM4"):
        return "NVIDIA A100-SXM4-80GB"
    return f"NVIDIA GeForce {gpu_name}" if gpu_name.startswith(("RTX 3", "RTX 4", "RTX 5", "GTX")) else f"NVIDIA {gpu_name}"


# --query-gpu with any of its columns that we know, in any order; an unknown one fails as the real tool fails.
_SCRIPT = """#!/bin/sh
query= format=
for word in "$@"; do case $word in --query-gpu=*) query=${word#*=};; --format=*) format=${word#*=};; -L) query=-L;; esac; done
if [ "$query" = -L ]; then
  n=0; while [ $n -lt %(count)d ]; do echo "GPU $n: %(name)s (UUID: GPU-00000000-0000-0000-0000-00000000000$n)"; n=$((n+1)); done; exit 0
fi
if [ -z "$query" ]; then
  echo "| NVIDIA-SMI %(driver_version)s   Driver Version: %(driver_version)s   CUDA Version: %(cuda).1f |"
  n=0; while [ $n -lt %(count)d ]; do echo "|   $n  %(name)s   0MiB / %(memory_mib)dMiB |"; n=$((n+1)); done; exit 0
fi
case $format in *nounits*) unit=;; *) unit=" MiB";; esac
case $format in *noheader*) ;; *) echo "$query" | sed 's/,/, /g';; esac
n=0
while [ $n -lt %(count)d ]; do
  line=
  for column in $(echo "$query" | tr , ' '); do
    case $column in
      name|gpu_name) value="%(name)s";;
      driver_version) value="%(driver_version)s";;
      memory.total) value="%(memory_mib)d$unit";;
      memory.free) value="%(memory_mib)d$unit";;
      memory.used) value="0$unit";;
      index) value=$n;;
      count) value=%(count)d;;
      *) echo "Field \\"$column\\" is not a valid field to query."; exit 2;;
    esac
    line="${line:+$line, }$value"
  done
  echo "$line"; n=$((n+1))
done
"""


def install(upper: Path, gpu: Gpu | None) -> None:
    """Write it into the machine's upper layer. With no GPU nothing is written: the computer under the rig must have none either."""
    target = upper / PATH
    if gpu is None:
        if Path("/", PATH).exists():
            raise RuntimeError(f"/{PATH} of the computer under the rig would show through")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_SCRIPT % vars(gpu))
    target.chmod(0o755)
