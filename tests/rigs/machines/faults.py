"""The ways in which an emulated provider can be told to misbehave. Faults with a count a CALL count down; the others stay until changed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Everything off unless set. CALL: create, destroy, list, search, state, keys, user, any."""

    wrong_gpu: str | None = None  # deliver this GPU, by the provider's name, in place of the one asked for
    rate_factor: float = 1.0  # the host charges this many times the price of its GPUs
    never_ready: bool = False  # created and billed, and never runs
    no_capacity: bool = False  # gone when it is asked for
    late_s: float = 0.0  # a new instance appears in lists only after this time
    destroy_ignored: bool = False  # the call that ends an instance says yes and does nothing
    deny_instance_key: bool = False  # an instance's own key may not end it; it may still stop itself
    key_revoked: bool = False  # the account's key is unknown from now on (HTTP 401); the instances' own still work
    fail_before: dict[str, int] = field(default_factory=dict)  # CALL -> how many of the next ones fail without effect
    fail_after: dict[str, int] = field(default_factory=dict)  # CALL -> how many of the next ones fail after their effect
    fail_status: int = 500  # HTTP status of these failures
    rate_limited: dict[str, int] = field(default_factory=dict)  # CALL -> how many of the next ones are one too many (HTTP 429)
    bursts: dict[str, list[int]] = field(default_factory=dict)  # CALL -> [bad, good]: so many fail, so many work, and again
    renamed: dict[str, str] = field(default_factory=dict)  # field of the provider's replies -> what it is called from now on

    def changed(self, **changes: object) -> Self:
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


def in_burst(bursts: dict[str, list[int]], call: str, asked: int) -> bool:
    """Whether the call that was made `asked` times before falls into the bad part of its round."""
    bad, good = bursts.get(call) or bursts.get("any") or (0, 1)
    return asked % (bad + good) < bad


def with_names(reply: Any, renamed: dict[str, str]) -> Any:
    """The reply as a provider with other field names would send it."""
    if isinstance(reply, dict):
        return {renamed.get(name, name): with_names(value, renamed) for name, value in reply.items()}
    return [with_names(one, renamed) for one in reply] if isinstance(reply, list) else reply
