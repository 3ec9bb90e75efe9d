"""The ways in which the emulated provider can be told to misbehave. `calls` faults count down; the others stay until changed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Everything off unless set. CALL in the two `fail_` fields: create, destroy, list, search, state, any (HTTP 500)."""

    wrong_gpu: str | None = None  # deliver this gpu_name in place of the one asked for
    rate_factor: float = 1.0  # the host charges this many times the offer's price of its GPUs
    never_ready: bool = False  # stays in "loading"
    no_capacity: bool = False  # the offer is gone when it is asked for (no_such_ask)
    late_s: float = 0.0  # a new instance appears in lists only after this time
    destroy_ignored: bool = False  # DELETE says yes and does nothing
    deny_instance_key: bool = False  # 403 to DELETE with an instance's own key; it may still stop itself
    fail_before: dict[str, int] = field(default_factory=dict)  # CALL -> how many of the next ones fail without effect
    fail_after: dict[str, int] = field(default_factory=dict)  # CALL -> how many of the next ones fail after their effect

    def changed(self, **changes: object) -> Faults:
        """These faults with some fields set. A name that is none raises ValueError: a fault that never comes tests nothing."""
        unknown = set(changes) - {one.name for one in fields(self)}
        if unknown:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
        return replace(self, **changes)  # type: ignore[arg-type]


def spent(counts: dict[str, int], call: str) -> bool:
    """True when this call is to fail; counts it down in place."""
    for name in (call, "any"):
        if counts.get(name, 0) > 0:
            counts[name] -= 1
            return True
    return False
