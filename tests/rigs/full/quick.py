"""``cloudtune`` with shorter bounds and nothing else changed: ``python -m tests.rigs.full.quick '{"launch_grace_s": 40}' run …``

Names are those of ``Policy``; besides, ``provisioning_s``: the longest wait until an instance is ready, of every offer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import msgspec

from orchestrator.cli import app, renting
from orchestrator.plan.budget import Policy
from orchestrator.plan.plan import Plan


def shorten(bounds: dict[str, float]) -> None:
    """Put these bounds in the place of the usual ones."""
    provisioning_s = bounds.pop("provisioning_s", None)
    usual = msgspec.structs.replace(renting.policy(), **bounds)
    rentable = renting.rentable

    def policy() -> Policy:
        return usual

    def plan(*arguments: Any, **named: Any) -> Plan:
        found = rentable(*arguments, **named)
        if provisioning_s is None:
            return found
        hasty = (replace(one, offer=msgspec.structs.replace(one.offer, provisioning_s=provisioning_s)) for one in found.ranked)
        return replace(found, ranked=tuple(hasty))

    renting.policy, renting.rentable = policy, plan


if __name__ == "__main__":
    shorten(json.loads(sys.argv.pop(1)))
    sys.argv[0] = "cloudtune"
    app.main()
