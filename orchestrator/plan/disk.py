"""How much disk a job needs on a rented instance. Pure; GiB."""

from __future__ import annotations

GIB = 2**30
ENVIRONMENT_GIB = 11.0  # torch with its CUDA libraries and the other packages, unpacked: 7 to 9; the rest is the system's and the logs'
BYTES_A_WEIGHT = 2.0  # as published: bfloat16 or float16
KEPT_CHECKPOINTS = 3  # two that are kept and one that is being written
BYTES_A_TRAINED_WEIGHT = 12.0  # the weight and two moments of the optimizer, in float32
ADAPTER_SHARE = 0.03  # trained weights of a large LoRA over those of its model
ORDERED_SHARE, ORDERED_GIB = 1.1, 3.0  # what is ordered beyond what is needed: a file system keeps some for itself


def disk_gib(parameters: int) -> float:
    """Free space that must be there before anything is installed, for a model of so many weights and an adapter to train."""
    trained = parameters * ADAPTER_SHARE
    return ENVIRONMENT_GIB + (parameters * BYTES_A_WEIGHT + KEPT_CHECKPOINTS * trained * BYTES_A_TRAINED_WEIGHT) / GIB


def ordered_gib(needed_gib: float) -> float:
    """The size of disk to order for so much free space."""
    return needed_gib * ORDERED_SHARE + ORDERED_GIB
