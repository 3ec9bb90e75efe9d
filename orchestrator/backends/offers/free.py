"""What costs nothing: this machine's own card, and Kaggle's. Asks the driver; never the network."""

from __future__ import annotations

import subprocess

from orchestrator.estimate.gpus import find_gpu
from orchestrator.estimate.problems import UnknownGpu
from orchestrator.plan.offers import Offer

_ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
TIMEOUT_S = 5.0
_CONTEXT_GIB = 0.35  # the driver's total is above what torch reports by about this


def local_gpu(ask: tuple[str, ...] = _ASK) -> tuple[Offer | None, str]:
    """(this machine's first NVIDIA card as an offer at $0 or None, why there is none)."""
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        return None, "no NVIDIA driver on this machine; cloudtune run --infra local trains on its processor, which suits small models only"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"the NVIDIA driver of this machine does not answer: {error}"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        return None, "the NVIDIA driver of this machine names no card"
    name, _, memory = lines[0].rpartition(",")
    try:
        card = find_gpu(name.strip())
        total_gib = float(memory) / 1024
    except UnknownGpu as error:
        return None, error.message
    except ValueError:
        return None, f"the NVIDIA driver answered {lines[0]!r}"
    usable = min(card.usable_gib, total_gib - _CONTEXT_GIB)
    return Offer(
        backend="local", cloud="local", gpu=card.name, count=len(lines), usable_gib=usable, guard="create-time",
        source="this machine's driver", provisioning_s=60.0,
    ), ""  # fmt: skip


def kaggle_offer() -> Offer:
    """Kaggle's accelerator: two T4, of which one trains. A single T4 is not offered, the P100 is retired."""
    return Offer(backend="kaggle", cloud="kaggle", instance_type="NvidiaTeslaT4", gpu="T4", count=2, usable_gib=find_gpu("T4").usable_gib,
                 guard="native", proof="unproved", source="Kaggle's client, 30 hours a week", provisioning_s=1800.0)  # fmt: skip
