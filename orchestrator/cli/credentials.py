"""Whether the clouds that a job names take the credentials on this machine: asked within seconds, for ``check``. Changes nothing there."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterable

from orchestrator.cli import places
from orchestrator.cli.doctor import Finding, asked
from orchestrator.errors import CloudtuneError

ANSWER_S = 6.0  # for all places together; who has not answered by then is said not to have
NO_ACCOUNT = ("local", "simulated")  # places that ask for none


def credentials(infra: tuple[str, ...], *, offline: bool) -> list[Finding]:
    """One finding for each place in ``infra``; without any, for each place that this machine has a credential for.

    ``ok``: it answered; ``missing``: there is none here; ``problem``: it says no; ``unasked``: not known, and why.
    """
    wanted = [place for place in dict.fromkeys(infra) if place.split("/")[0] not in NO_ACCOUNT]
    if infra and not wanted:
        return []
    try:
        here = places.present()
    except CloudtuneError as error:
        return [Finding(what="credentials", state="problem", said=error.message, next=error.hint or "")]
    found, ask = [], []
    for want in wanted:
        cloud = want.split("/")[0]
        covered = [place for place in here if places.covers(want, place)]
        if cloud not in places.BUILT:
            found.append(Finding(what=want, state="unasked", said="cloudtune does not rent there yet"))
        elif not covered:
            found.append(Finding(what=want, state="missing", said="no credential on this machine", next=places.HOW_TO[cloud]))
        ask += covered
    return found + _answers(dict.fromkeys(ask if wanted else here), offline=offline)


def _answers(asked_places: Iterable[str], *, offline: bool) -> list[Finding]:
    """Each place asked at the same time, by threads that do not outlive this program."""
    found: dict[str, Finding] = {}
    threads = []
    for place in asked_places:
        if offline:
            found[place] = Finding(what=place, state="unasked", said="not asked: --offline")
        elif place == "vast" and importlib.util.find_spec("vastai") is None:
            found[place] = Finding(what=place, state="unasked", said="its client is not installed", next="pip install 'cloudtune[sky]'")
        else:
            found[place] = Finding(
                what=place, state="unasked", said=f"no answer within {ANSWER_S:.0f} s", next="cloudtune doctor waits longer"
            )
            threads.append(threading.Thread(target=_ask, args=(place, found), daemon=True))
            threads[-1].start()
    end = time.monotonic() + ANSWER_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(found.values())


def _ask(place: str, found: dict[str, Finding]) -> None:
    try:
        found[place] = asked(place, lambda: places.observer(place).everything())
    except ValueError as error:  # its prices, which the user states, cannot be read
        found[place] = Finding(what=place, state="problem", said=str(error))
