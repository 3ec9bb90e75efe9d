"""What can go wrong, and how often. Rates are per opportunity (a call, a poll, a night), stated with their origin."""

from __future__ import annotations

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Probability of each kind of fault at each opportunity."""

    api_error_before: float  # a call fails and has done nothing
    api_error_after: float  # a call fails although it has been done
    late_instance: float  # a create call fails and its instance appears minutes later
    no_capacity: float  # a create call
    wrong_gpu: float  # an instance
    rate_above_plan: float  # an instance
    slow_boot: float  # an instance
    never_ready: float  # an instance
    preemption: float  # an instance, on demand; spot ten times as often
    reboot: float  # an instance
    lazy_teardown: float  # a destroy call that does nothing, or works minutes later
    truncated_download: float  # a transfer
    corrupt_download: float  # a transfer
    controller_killed: float  # a call or a pause
    two_controllers: float  # an intent: its controller sleeps until another has taken over
    torn_journal_write: float  # an event: the controller dies in the middle of writing it
    disk_full: float  # an event
    laptop_asleep: float  # a pause
    clock_jump: float  # a restart of the laptop, with a wrong clock


KINDS: tuple[str, ...] = Rates.__struct_fields__

# far worse than any real night: to find mistakes
HARSH = Rates(
    api_error_before=0.04,
    api_error_after=0.04,
    late_instance=0.06,
    no_capacity=0.12,
    wrong_gpu=0.06,
    rate_above_plan=0.06,
    slow_boot=0.10,
    never_ready=0.08,
    preemption=0.12,
    reboot=0.10,
    lazy_teardown=0.25,
    truncated_download=0.10,
    corrupt_download=0.10,
    controller_killed=0.012,
    two_controllers=0.02,
    torn_journal_write=0.004,
    disk_full=0.004,
    laptop_asleep=0.03,
    clock_jump=0.15,
)

# Orders of magnitude of a real marketplace night. Origins: hosts of 95 to 99 % reliability are what marketplaces list
# (preemption, reboot); no capacity, boots that never end, late instances and lazy teardown are the rates at which the
# issues of SkyPilot, dstack and RunPod's users describe them on bad days, taken as a few per hundred instances;
# API errors and broken transfers at a few per thousand calls; a laptop that sleeps or is restarted once or twice a night.
REALISTIC = Rates(
    api_error_before=0.004,
    api_error_after=0.002,
    late_instance=0.005,
    no_capacity=0.05,
    wrong_gpu=0.005,
    rate_above_plan=0.01,
    slow_boot=0.05,
    never_ready=0.02,
    preemption=0.03,
    reboot=0.01,
    lazy_teardown=0.02,
    truncated_download=0.005,
    corrupt_download=0.002,
    controller_killed=0.001,
    two_controllers=0.001,
    torn_journal_write=0.0002,
    disk_full=0.0002,
    laptop_asleep=0.01,
    clock_jump=0.02,
)
