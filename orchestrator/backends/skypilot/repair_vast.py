"""Vast, SkyPilot 0.14.1 with vastai 1.x: what would rent the wrong GPU, at any price, or show the account's key.

The client's query grammar ends at SkyPilot's first quoted value, so that the GPU, its count and the disk are no longer
asked for and the first offer is rented at any price. Here the query is written so that the grammar takes it (as long as
:func:`drops_filters` finds that needed), and whatever comes back is compared with what was ordered: GPU, count and
highest rate, and the machine with what is asked of one (``offers/hosts.py``) and those that failed us, so that a price
that another machine had is not paid to one of them; the cheapest first.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Any

from orchestrator.backends.offers.hosts import HostRules, host_problem
from orchestrator.backends.offers.sources import vast_host
from orchestrator.backends.skypilot.notes import create_call
from orchestrator.backends.skypilot.order import HOSTS, host_rules, rate_cap

POLL_S = 2  # SkyPilot asks every 10 s whether an instance is ready; all of them are billed


def plain_query(query: str) -> str:
    """A query of SkyPilot's in the client's own grammar: no quotes, no blanks in values, no decimals.

    Without ``chunked``, which would leave out every host with fewer than 32 processors or 64 GiB.
    """
    query = query.replace("chunked=true", "").strip()
    query = re.sub(r'"([^"]*)"', lambda found: found[1].replace(" ", "_"), query)
    return re.sub(r"([=<>])(\d+)\.\d+\b", r"\1\2", query)


def drops_filters(preprocess: Any) -> bool:
    """Whether the installed client still loses what stands behind a quoted value."""
    *_, left = preprocess('georegion=true geolocation="US" num_gpus=7')
    return "num_gpus" not in str(left)


def repair_vast(vastai: Any) -> None:
    """Wrap the client's search and create. ``vastai``: the imported package."""
    from sky.provision.vast import instance, utils
    from vastai.utils import preprocess_search_query

    if getattr(vastai.VastAI.search_offers, "cloudtune", False):
        return
    instance.POLL_INTERVAL = POLL_S
    needed = drops_filters(preprocess_search_query)
    order: dict[str, Any] = {}
    rent, search, create = utils.launch, vastai.VastAI.search_offers, vastai.VastAI.create_instance

    @functools.wraps(rent)
    def launch(*arguments: Any, **named: Any) -> Any:
        order.clear()
        order.update(named)
        return rent(*arguments, **named)

    @functools.wraps(search)
    def search_offers(self: Any, query: Any = None, **named: Any) -> Any:
        if not order:
            return search(self, query, **named)
        asked = plain_query(query) if needed and isinstance(query, str) else query
        named |= {"order": "dph_total", "storage": float(order["disk_size"]), "type": "bid" if order["preemptible"] else "on-demand"}
        return fitting(search(self, asked, **named), order["instance_type"], rate_cap(os.environ), host_rules(os.environ.get(HOSTS)))

    @functools.wraps(create)
    def create_instance(self: Any, *arguments: Any, **named: Any) -> Any:
        price = named.get("price")
        if price is not None and not 0.0 < float(price) <= (rate_cap(os.environ) or float("inf")):
            raise RuntimeError(f"a bid of {price} $/h is refused: it must be above 0 and at most the offer's rate")
        if named.get("onstart_cmd"):
            named["onstart_cmd"] = without_key(named["onstart_cmd"], str(self.client.api_key))
        usual, self.client.retry = self.client.retry, 1  # a create that is sent again may make two
        try:
            with create_call(os.environ) as call:
                answer = create(self, *arguments, **named)
                call.note("made", id=answer["new_contract"], key=answer.get("instance_api_key"))
                return answer
        finally:
            self.client.retry = usual

    search_offers.cloudtune = True  # type: ignore[attr-defined]
    utils.launch = launch
    vastai.VastAI.search_offers = search_offers
    vastai.VastAI.create_instance = create_instance


def fitting(rows: Any, instance_type: str, cap: float | None, rules: HostRules) -> list[dict[str, Any]]:
    """The offers that are what SkyPilot's ``instance_type`` (``1x-RTX_4090-32-65536``) says, within ``cap`` $/h, on hosts that will do."""
    if not isinstance(rows, list):
        return []
    count, gpu = instance_type.split("-")[0].removesuffix("x"), instance_type.split("-")[1].replace("_", " ")
    right = [row for row in rows if row.get("gpu_name") == gpu and str(row.get("num_gpus")) == count]
    return [row for row in right if (cap is None or 0.0 < float(row.get("dph_total") or 0.0) <= cap) and _will_do(row, rules)]


def _will_do(row: dict[str, Any], rules: HostRules) -> bool:
    """Whether the host is one to rent from; a row that does not say what it is of is left."""
    try:
        return host_problem(vast_host(row), rules) is None
    except (KeyError, TypeError, ValueError):
        return False


def without_key(onstart: str, key: str) -> str:
    """SkyPilot's start command without the line that writes the account's key on the rented machine."""
    kept = [part for part in onstart.split(";") if part != f'echo "{key}" > ~/.vast_api_key']
    command = ";".join(kept)
    if key and key in command:
        raise RuntimeError("the account's key would be written on the instance; this SkyPilot is not one that cloudtune knows")
    return command
