"""A plugin for a plain SkyPilot server that asks Vast for the GPU that was ordered, and changes nothing else.

Without it SkyPilot 0.14.1 with vastai 1.x rents whatever offer comes first (``orchestrator/backends/skypilot/repair_vast.py``
says why). How often SkyPilot polls, what it installs and which keys it writes stay as they are.
"""

from __future__ import annotations

import functools
from typing import Any

from sky.server import plugins

from orchestrator.backends.skypilot.repair_vast import drops_filters, plain_query

PLUGIN = "benchmarks.sky_query_repair.QueryRepair"


class QueryRepair(plugins.BasePlugin):  # type: ignore[misc]
    """Named in ``plugins.yaml``."""

    def install(self, extension_context: Any) -> None:
        """Called in every process of the server. Idempotent."""
        import vastai
        from vastai.utils import preprocess_search_query

        search = vastai.VastAI.search_offers
        if getattr(search, "repaired", False) or not drops_filters(preprocess_search_query):
            return

        @functools.wraps(search)
        def search_offers(self: Any, query: Any = None, **named: Any) -> Any:
            return search(self, plain_query(query) if isinstance(query, str) else query, **named)

        search_offers.repaired = True  # type: ignore[attr-defined]
        vastai.VastAI.search_offers = search_offers
