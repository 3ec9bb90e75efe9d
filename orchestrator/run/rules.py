"""The eight rules that the engine rests on, by name, so that the simulator can remove one and watch it fail.

In production all of them hold, always.
"""

from __future__ import annotations

import msgspec


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules hold. The comment says what breaks without it."""

    intent_first: bool = True  # a create that is never journalled: an instance nobody knows
    launch_grace: bool = True  # an instance that appears after the error: nobody ends it
    early_deadline: bool = True  # a laptop that sleeps before the deadline is set: the bill runs on
    observed_teardown: bool = True  # a destroy call that does nothing: the bill runs on
    hashed_pull: bool = True  # a truncated adapter called a success
    one_controller: bool = True  # two controllers: two instances
    bounded: bool = True  # a boot that never ends eats the budget, and a stop comes too late to save
    never_underreport: bool = True  # a receipt that says less than the bill

    @classmethod
    def without(cls, name: str) -> Rules:
        """All rules but one. Raises ValueError for a name that is no rule."""
        if name not in cls.__struct_fields__:
            raise ValueError(f"no rule {name!r}; the rules are {', '.join(cls.__struct_fields__)}")
        return cls(**{name: False})


ALL_RULES = Rules()
RULE_NAMES: tuple[str, ...] = Rules.__struct_fields__
