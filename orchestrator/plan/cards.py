"""Which card a cloud's accelerator name really is, and how much of its memory torch can use there. Pure data and look-ups.

Names mislead: "A100" on Vast is a 40 or an 80 GB card, "H100" is PCIe on RunPod, NVL on one Azure type, SXM elsewhere.
Where a name leaves it open, the smaller or slower card is meant: what comes is then never less than what was planned.
"""

from __future__ import annotations

from functools import cache

from orchestrator.estimate.gpus import Gpu, find_gpu
from orchestrator.estimate.problems import UnknownGpu

# (cloud, accelerator name there, mark in the instance type) -> card; the first row that matches counts
_VARIANTS: tuple[tuple[str, str, str, str], ...] = (
    ("", "H100", "NVL", "H100-NVL"),
    ("", "H100", "SXM", "H100"),
    ("", "H100", "PCIE", "H100-PCIe"),
    ("azure", "H100", "NC40ADS", "H100-NVL"),
    ("azure", "H100", "NC80ADIS", "H100-NVL"),
    ("runpod", "H100", "", "H100-PCIe"),  # RunPod calls the others H100-SXM and H100-NVL
    ("shadeform", "H100", "", "H100-PCIe"),  # several sellers under one name
    ("primeintellect", "H100", "", "H100-PCIe"),
    ("hyperbolic", "H100", "", "H100-PCIe"),
    ("paperspace", "H100", "", "H100-PCIe"),
    ("cudo", "H100", "", "H100-PCIe"),
    ("vast", "H100", "", "H100-PCIe"),
    ("vast", "A100", "", "A100-40GB"),  # 40 or 80 GB under one name
)
# memory that torch can use where a cloud's own cards differ from the table, GiB
_USABLE_GIB: dict[tuple[str, str], float] = {
    ("vast", "A40"): 44.43,
    ("vast", "L40S"): 44.42,
    ("aws", "L4"): 21.95,  # the catalog says 22.4 GiB where others say 24 GB: 0.2 GiB below the lowest reading
    ("aws", "A10G"): 22.0,
    ("vast", "RTX5090"): 31.3,
}
# what cannot run QLoRA at all, by the beginning of its name, and why
_CANNOT: tuple[tuple[str, str], ...] = (
    ("tpu", "a TPU cannot run QLoRA: bitsandbytes has no kernels for it"),
    ("trainium", "Trainium cannot run QLoRA: bitsandbytes has no kernels for it"),
    ("inferentia", "Inferentia cannot train"),
    ("gaudi", "the trainer is tested with NVIDIA cards only"),
    ("mi", "the trainer is tested with NVIDIA cards only, and this one is AMD's"),
    ("radeon", "the trainer is tested with NVIDIA cards only, and this one is AMD's"),
    ("k80", "compute capability 3.7: today's PyTorch does not run on it"),
    ("m4000", "compute capability 5.2: today's PyTorch does not run on it"),
    ("m60", "compute capability 5.2: today's PyTorch does not run on it"),
    ("p4", "compute capability 6.1: PyTorch's builds for today's CUDA leave it out"),
    ("p5", "compute capability 6.1: PyTorch's builds for today's CUDA leave it out"),
    ("p6", "compute capability 6.1: PyTorch's builds for today's CUDA leave it out"),
    ("p100", "compute capability 6.0: PyTorch's builds for today's CUDA leave it out"),
)


def cannot_train(gpu: str) -> str | None:
    """Why this accelerator can never run the job, or None."""
    name = gpu.lower()
    return next((why for start, why in _CANNOT if name.startswith(start)), None)


@cache
def card_of(cloud: str, gpu: str, instance_type: str = "") -> Gpu | None:
    """The card behind an accelerator's name at a cloud; None for one of which nothing is known here."""
    kind = instance_type.upper()
    for at, name, mark, card in _VARIANTS:
        if at in ("", cloud) and name == gpu and mark in kind:
            return find_gpu(card)
    try:
        return find_gpu(gpu)
    except UnknownGpu:
        return None


def usable_gib(cloud: str, gpu: str, instance_type: str = "") -> float:
    """GiB per card that torch can use, the CUDA context included; 0 for a card of which nothing is known."""
    card = card_of(cloud, gpu, instance_type)
    if card is None:
        return 0.0
    return min(card.usable_gib, _USABLE_GIB.get((cloud, gpu), card.usable_gib))
