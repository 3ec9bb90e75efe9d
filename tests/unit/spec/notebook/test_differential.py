"""Whenever the resolver says that it knows a value, Python must agree: random programs, run for real and read."""

from __future__ import annotations

import contextlib
import random
import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.spec.notebook import cells, resolve
from orchestrator.spec.notebook.values import PySet, Unresolved, thaw

from .programs import NAMES, programs


def run_for_real(text: str, seed: int) -> dict[str, Any] | None:
    """The names after the program, or None when it raises or does not end. unk() and poke() are as random as the seed."""
    chance = random.Random(seed)

    def unk() -> Any:
        return chance.choice([True, False, 0, 3, "s", [1], None])

    def poke(x: Any) -> None:
        if isinstance(x, list):
            x.append(chance.randint(50, 60))
        elif isinstance(x, dict):
            x["x"] = chance.randint(50, 60)
            for one in x.values():
                if isinstance(one, list):
                    one.append(51)
        elif isinstance(x, tuple):
            for one in x:
                poke(one)
        elif hasattr(x, "lr"):
            with contextlib.suppress(Exception):
                x.lr = chance.randint(50, 60)
            poke(x.n)

    space: dict[str, Any] = {"unk": unk, "poke": poke, "ctx": contextlib.nullcontext, "__name__": "__main__"}

    lines = 0

    def bounded(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += 1
        if lines > 5000:
            raise TimeoutError
        return bounded

    before = sys.gettrace()
    sys.settrace(bounded)
    try:
        exec(compile(text, "program", "exec"), space)
    except BaseException:
        return None
    finally:
        sys.settrace(before)
    return space


def tupled(value: Any) -> Any:
    """As thaw() gives it: tuples become lists, sets sorted lists."""
    if isinstance(value, list | tuple):
        return [tupled(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((tupled(one) for one in value), key=repr)
    if isinstance(value, dict):
        return {key: tupled(one) for key, one in value.items()}
    return value


def known_after(text: str) -> dict[str, Any]:
    cell = cells.Cell(0, text)
    machine = resolve.walk(cells._parsed([cell], {}, [], "program"))
    assert cell.tree is not None, cell.problem
    known = {}
    for name in NAMES:
        held = machine.globals.slots.get(name)
        if name not in machine.globals.slots or isinstance(held, PySet):
            continue
        try:
            known[name] = thaw(held)
        except Unresolved:
            continue
    return known


def agrees(text: str, seeds: range) -> tuple[int, int]:
    """How many values the resolver knew, of how many there are."""
    known = known_after(text)
    count = 0
    for seed in seeds:
        space = run_for_real(text, seed)
        if space is None:
            continue
        for name, value in known.items():
            assert name in space, f"{name} is not defined\n{text}"
            real = tupled(space[name])
            assert repr(real) == repr(value), f"{name}: read {value!r}, is {real!r} (seed {seed})\n{text}"
            count += 1
    return count, len(known)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.integers(0, 1000))
def test_a_known_value_is_the_real_one(text: str, seed: int) -> None:
    agrees(text, range(seed, seed + 4))
