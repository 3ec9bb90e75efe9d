"""The provider's HTTP API on loopback, as far as its own client (vastai 1.9.1) and SkyPilot 0.14.1 use it.

    python -m tests.rigs.vast.emulator FOLDER        rig.py starts it, in the rig's namespaces

Each call's docstring names what it follows and what is assumed. `control.py` has the rig's own side door.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rigs.machines import faults, server
from tests.rigs.machines.provider import Refused
from tests.rigs.machines.server import Answer
from tests.rigs.vast.cloud import API_PORT, Cloud


class Api:
    """Routes to the cloud. One method a call; `who` is "account" or the id of the instance whose key was used."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.routes: list[tuple[str, str, str, Callable[..., Answer]]] = [
            ("search", "POST", r"/api/v0/bundles/", self.search),
            ("search", "PUT", r"/api/v0/search/asks/", self.search_asks),
            ("create", "PUT", r"/api/v0/asks/(\d+)/", self.create),
            ("list", "GET", r"/api/v1/instances/", self.list_v1),
            ("list", "GET", r"/api/v0/instances/?", self.list_v0),
            ("list", "GET", r"/api/v0/instances/(\d+)/", self.show),
            ("destroy", "DELETE", r"/api/v0/instances/(\d+)/", self.destroy),
            ("state", "PUT", r"/api/v0/instances/(\d+)/", self.state),
            ("state", "PUT", r"/api/v0/instances/reboot/(\d+)/", self.reboot),
            ("keys", "GET", r"/api/v0/ssh/", self.ssh_keys),
            ("keys", "POST", r"/api/v0/ssh/", self.add_ssh_key),
            ("user", "GET", r"/api/v0/users/current/?", self.user),
        ]

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any], key: str) -> tuple[int, Answer]:
        """Status and body. The faults strike here, before or after the effect, so that every call can fail either way."""
        try:
            who = self.cloud.who(key)
            for call, verb, pattern, handler in self.routes:
                if method == verb and (match := re.fullmatch(pattern, path)):
                    run = lambda run=handler, found=match: run(who, query, body, *map(int, found.groups()))  # noqa: E731
                    return 200, faults.with_names(self.cloud.faulty(call, run), self.cloud.faults.renamed)
            raise Refused(404, "no_route", f"{method} {path} is not emulated")
        except Refused as refusal:
            return refusal.status, {"success": False, "error": refusal.error, "msg": refusal.msg}

    @staticmethod
    def _account(who: str | int) -> None:
        if who != "account":
            raise Refused(401, "auth_error", "an instance's key cannot do this")

    def search(self, who: str | int, _query: dict[str, str], body: dict[str, Any]) -> Answer:
        """POST /bundles/: docs.vast.ai/api-reference/search/search-offers, vastai/api/offers.py. Assumed: an unknown field is a 400."""
        self._account(who)
        return {"offers": self.cloud.search(body)}

    def search_asks(self, who: str | int, _query: dict[str, str], body: dict[str, Any]) -> Answer:
        """PUT /search/asks/: vastai/api/offers.py `search_offers_new`; the same filters under `q`."""
        self._account(who)
        return {"offers": self.cloud.search(body.get("q") or {})}

    def create(self, who: str | int, _query: dict[str, str], body: dict[str, Any], offer_id: int) -> Answer:
        """PUT /asks/ID/: docs.vast.ai/api-reference/instances/create-instance. `instance_api_key`: vastai/data/instance.py.

        onstart is refused above 4,048 characters, as that page says; templates, volumes and bulk creation are not emulated.
        """
        self._account(who)
        if len(body.get("onstart") or "") > 4048:
            raise Refused(400, "invalid_args", "onstart is longer than 4048 characters")
        contract = self.cloud.create(offer_id, body)
        return {"success": True, "new_contract": contract.id, "instance_api_key": contract.key}

    def list_v1(self, who: str | int, query: dict[str, str], _body: dict[str, Any]) -> Answer:
        """GET /api/v1/instances/: docs.vast.ai/api-reference/instances/show-instances, vastai/api/instances.py `show_instances_v1`.

        Pages of at most 25 by id. Assumed: of the filters only `{"field": {"eq": value}}`; others are refused, not ignored.
        """
        self._account(who)
        filters = json.loads(query.get("select_filters") or "{}")
        if any(set(test) != {"eq"} for test in filters.values()):
            raise Refused(400, "invalid_args", "only eq filters are emulated")
        rows = sorted((self.cloud.row(contract) for contract in self.cloud.listed()), key=lambda row: int(row["id"]))
        rows = [row for row in rows if all(row.get(name) == test["eq"] for name, test in filters.items())]
        after, limit = int(query.get("after_token") or 0), min(int(query.get("limit") or 25), 25)
        rest = [row for row in rows if row["id"] > after]
        token = str(rest[limit - 1]["id"]) if len(rest) > limit else None
        return {"success": True, "instances": rest[:limit], "next_token": token, "total_instances": len(rows), "label_counts": {}}

    def list_v0(self, who: str | int, _query: dict[str, str], _body: dict[str, Any]) -> Answer:
        """GET /instances/: docs.vast.ai/api-reference/instances/show-instances in its older form; everything on one page."""
        self._account(who)
        return {"instances": [self.cloud.row(contract) for contract in self.cloud.listed()]}

    def show(self, who: str | int, _query: dict[str, str], _body: dict[str, Any], instance_id: int) -> Answer:
        """GET /instances/ID/: docs.vast.ai/api-reference/instances/show-instance; none is `null`, as vastai `show_instance` expects."""
        self._own(who, instance_id)
        try:
            return {"instances": self.cloud.row(self.cloud.find(instance_id))}
        except Refused:
            return {"instances": None}

    def destroy(self, who: str | int, _query: dict[str, str], _body: dict[str, Any], instance_id: int) -> Answer:
        """DELETE /instances/ID/: docs.vast.ai/api-reference/instances/destroy-instance.

        The instance's own key: docs.vast.ai/documentation/instances says it may "start, stop, or destroy that specific instance".
        """
        self._own(who, instance_id)
        if who != "account" and self.cloud.faults.deny_instance_key:
            raise Refused(403, "denied", "an instance's key cannot destroy")
        self.cloud.destroy(instance_id, by="account" if who == "account" else "instance")
        return {"success": True}

    def state(self, who: str | int, _query: dict[str, str], body: dict[str, Any], instance_id: int) -> Answer:
        """PUT /instances/ID/ with state or label: docs.vast.ai/api-reference/instances/manage-instance.

        Assumed: a stopped instance reads actual_status "exited", as SkyPilot's status map and vastai/SKILL.md have both names.
        """
        self._own(who, instance_id)
        if "state" in body:
            moves = {"stopped": self.cloud.stop, "running": self.cloud.start}
            if body["state"] not in moves:
                raise Refused(400, "invalid_args", f"state {body['state']!r}")
            moves[body["state"]](instance_id)
        if "label" in body:
            self._account(who)
            self.cloud.find(instance_id).label = body["label"]
        return {"success": True}

    def reboot(self, who: str | int, _query: dict[str, str], _body: dict[str, Any], instance_id: int) -> Answer:
        """PUT /instances/reboot/ID/: docs.vast.ai/api-reference/instances/reboot-instance: stop and start, same disk, same place."""
        self._own(who, instance_id)
        self.cloud.reboot(instance_id)
        return {"success": True}

    def ssh_keys(self, who: str | int, _query: dict[str, str], _body: dict[str, Any]) -> Answer:
        """GET /ssh/: vastai/api/keys.py `show_ssh_keys`."""
        self._account(who)
        return [{"id": n, "public_key": key, "key": key} for n, key in enumerate(self.cloud.ssh_keys, 1)]

    def add_ssh_key(self, who: str | int, _query: dict[str, str], body: dict[str, Any]) -> Answer:
        """POST /ssh/: docs.vast.ai/api-reference/accounts/create-ssh-key. Instances made from now on have the key."""
        self._account(who)
        self.cloud.ssh_keys.append(str(body["ssh_key"]))
        return {"success": True, "key": {"id": len(self.cloud.ssh_keys), "public_key": body["ssh_key"]}}

    def user(self, who: str | int, _query: dict[str, str], _body: dict[str, Any]) -> Answer:
        """GET /users/current: vastai/api/billing.py `show_user`. Assumed: the fields that a credential check reads."""
        self._account(who)
        return {"id": 1, "username": "rig", "email": "rig@example.invalid", "credit": 100.0, "balance": 0.0}

    @staticmethod
    def _own(who: str | int, instance_id: int) -> None:
        if who not in ("account", instance_id):
            raise Refused(401, "auth_error", "this key belongs to another instance")


if __name__ == "__main__":
    server.serve(Path(sys.argv[1]), API_PORT, Cloud, lambda cloud, _log: Api(cloud))
