"""Cards: usable memory as torch reports it, peak 16-bit tensor throughput, bandwidth; and what an estimate means on one.

Usable memory is what ``torch.cuda.get_device_properties(0).total_memory`` says, the CUDA context included, and the
lowest value published where drivers differ. Table: ``data/gpus.csv``, each row with where its number is from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

from .memory import GIB, MemoryEstimate
from .problems import UnknownGpu

Verdict = Literal["fits", "tight", "oom"]
_TABLE = Path(__file__).parent / "data" / "gpus.csv"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One type of card."""

    name: str  # as SkyPilot spells it
    full_name: str  # as its maker or driver does
    nominal_gb: int
    usable_gib: float
    tflops: float  # dense 16-bit tensor throughput, fp32 accumulation
    reached: float  # share of that which large products reach under the card's power and clocks
    bf16: bool  # in hardware
    bandwidth: float  # GB/s
    link: float  # GB/s to another card in the same machine: NVLink, or PCIe as measured without peer access
    compute_capability: float
    tflops_fp32: float  # on the card's FP32 units, its data sheet's: what products in fp32 run on, TF32 being off
    source: str  # of the usable memory

    @property
    def usable_bytes(self) -> float:
        """Usable memory in bytes."""
        return self.usable_gib * GIB


def _plain(name: str) -> str:
    words = re.sub(r"\b(nvidia|geforce|tesla|sxm\d?|hbm\d?e?|gpu)\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]", "", words)


@cache
def all_gpus() -> tuple[Gpu, ...]:
    """Every card in the table, smallest memory first."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    gpus = []
    for line in lines[1:]:
        name, aliases, nominal, usable, tflops, reached, bf16, bandwidth, link, capability, fp32, source = line.split("|")
        gpus.append(
            Gpu(name=name, full_name=aliases.split(";")[0], nominal_gb=int(nominal), usable_gib=float(usable),
                tflops=float(tflops), reached=float(reached),
                bf16=bf16 == "1", bandwidth=float(bandwidth), link=float(link), compute_capability=float(capability),
                tflops_fp32=float(fp32), source=source)
        )  # fmt: skip
    return tuple(sorted(gpus, key=lambda gpu: (gpu.usable_gib, gpu.name)))


@cache
def _spellings() -> dict[str, str]:
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, aliases = line.split("|")[:2]
        for spelling in (name, *aliases.split(";")):
            found.setdefault(_plain(spelling), name)
    return found


def find_gpu(name: str) -> Gpu:
    """The card of this name, in any cloud's or driver's spelling. Raises :class:`UnknownGpu` with near names."""
    plain = _plain(re.sub(r"\(.*?\)", lambda m: m[0] if "gb" in m[0].lower() else "", name))
    known = _spellings().get(plain) or _spellings().get(re.sub(r"(\d+gb)$", "", plain))
    if known is None:
        near = get_close_matches(plain, list(_spellings()), n=3, cutoff=0.5)
        hint = f"near: {', '.join(sorted({_spellings()[n] for n in near}))}" if near else None
        raise UnknownGpu(f"no card called {name!r} is known here", hint=hint)
    return next(gpu for gpu in all_gpus() if gpu.name == known)


def verdict(estimate: MemoryEstimate, gpu: Gpu) -> Verdict:
    """fits: even the high estimate is within the card; oom: the expected one is beyond it; tight: between."""
    if estimate.high <= gpu.usable_bytes:
        return "fits"
    return "oom" if estimate.expected > gpu.usable_bytes else "tight"
