"""The emulated provider behind its API: offers, contracts, machines, keys. Knows nothing of HTTP."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.rigs.vast import market, nvidia
from tests.rigs.vast.contract import Contract
from tests.rigs.vast.faults import Faults
from tests.rigs.vast.image import WHEELHOUSE, Image
from tests.rigs.vast.machine import API_PORT, Machine
from tests.rigs.vast.market import Offer


class Refused(Exception):
    """The API says no. `status` is HTTP's, `error` and `msg` go into the body as the provider's do."""

    def __init__(self, status: int, error: str, msg: str) -> None:
        super().__init__(msg)
        self.status, self.error, self.msg = status, error, msg


class Cloud:
    """One account's view of the provider. Every method may be called from any thread."""

    def __init__(self, *, folder: Path, baked: Image, account_key: str, api_socket: Path, log: Callable[[str], None]) -> None:
        self.folder, self.baked, self.account_key, self.api_socket, self.log = folder, baked, account_key, api_socket, log
        self.offers: list[Offer] = list(market.DEFAULT)
        self.faults = Faults()
        self.contracts: dict[int, Contract] = {}
        self.machines: dict[int, Machine] = {}
        self.ssh_keys: list[str] = []
        self.lock = threading.RLock()
        self._next_id = 9000

    # --- keys

    def who(self, key: str) -> str | int:
        """ "account", or the id of the instance whose own key this is. Refused (401) for any other."""
        if secrets.compare_digest(key, self.account_key):
            return "account"
        with self.lock:
            for contract in self.contracts.values():
                if secrets.compare_digest(key, contract.key) and contract.ended_at is None:
                    return contract.id
        raise Refused(401, "auth_error", "Invalid user key")

    # --- what a client can ask for

    def search(self, query: dict[str, Any]) -> list[market.Row]:
        with self.lock:
            rented = {contract.asked_offer for contract in self.contracts.values() if contract.ended_at is None}
            try:
                return market.search(self.offers, query, rented=rented)
            except market.BadQuery as error:
                raise Refused(400, "invalid_args", str(error)) from error

    def create(self, offer_id: int, body: dict[str, Any]) -> Contract:
        """Rent an offer. The machine boots in the background."""
        with self.lock:
            taken = {contract.asked_offer for contract in self.contracts.values() if contract.ended_at is None}
            offer = next((offer for offer in self.offers if offer.id == offer_id), None)
            if offer is None or offer_id in taken or self.faults.no_capacity:
                raise Refused(404, "no_such_ask", f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available.")
            if self.faults.wrong_gpu is not None:
                offer = replace(offer, gpu_name=self.faults.wrong_gpu)
            contract = self._contract(offer, offer_id, body)
            machine = self._machine(contract)
            machine.prepare()
            self.contracts[contract.id], self.machines[contract.id] = contract, machine
            # Assumed: a bid under the lowest winning one is taken, and the instance waits, unstarted, with its storage billed.
            outbid = contract.bid_usd_per_hour is not None and contract.bid_usd_per_hour < offer.min_bid
            if not (self.faults.never_ready or outbid):
                machine.boot()
            return contract

    def _contract(self, offer: Offer, offer_id: int, body: dict[str, Any]) -> Contract:
        self._next_id += 1
        now, price = time.time(), body.get("price")
        return Contract(
            id=self._next_id,
            key=f"instance-{secrets.token_hex(16)}",
            offer=offer,
            asked_offer=offer_id,
            label=body.get("label"),
            image=body.get("image"),
            onstart=body.get("onstart") or "",
            env={str(name): str(value) for name, value in (body.get("env") or {}).items()},
            disk_gb=float(body.get("disk") or 10.0),
            bid_usd_per_hour=None if price is None else float(price),
            rate_factor=self.faults.rate_factor,
            created_at=now,
            history=[(now, "loading")],
        )

    def _machine(self, contract: Contract) -> Machine:
        offer = contract.offer
        gpu = nvidia.Gpu(
            name=nvidia.spelled(offer.gpu_name),
            count=offer.num_gpus,
            memory_mib=offer.gpu_ram,
            driver_version=offer.driver_version,
            cuda=offer.cuda_max_good,
        )
        env = {name: value for name, value in contract.env.items() if name.isidentifier()}  # "-p 22:22" is a port, not a variable
        # CONTAINER_* as the provider sets them; the rest stands in for a network: the API's address, and the package index.
        env |= {"CONTAINER_ID": str(contract.id), "CONTAINER_API_KEY": contract.key, "VAST_CONTAINERLABEL": f"C.{contract.id}"}
        env |= {"VAST_URL": f"http://127.0.0.1:{API_PORT}"}
        env |= {"CLOUDTUNE_BOX_MAY_TRAIN_ON_CPU": "1"}  # behind its nvidia-smi there is no GPU
        env |= {"UV_FIND_LINKS": WHEELHOUSE, "UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_PYTHON_DOWNLOADS": "never"}
        env |= {"PIP_FIND_LINKS": WHEELHOUSE, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
        return Machine(
            folder=self.folder / str(contract.id),
            baked=self.baked,
            api_socket=self.api_socket,
            hostname=f"c{contract.id}",
            disk_gib=contract.disk_gb if offer.writable_gib is None else offer.writable_gib,
            gpu=gpu if offer.has_gpu else None,
            boot_s=offer.boot_s,
            env=env,
            onstart=contract.onstart,
            authorized_keys=list(self.ssh_keys),
            on_ready=lambda: self._ready(contract),
            log=self.log,
        )

    def _ready(self, contract: Contract) -> None:
        with self.lock:
            if contract.ended_at is None and contract.status == "loading":
                contract.turn("running", time.time())

    def instance(self, instance_id: int) -> Contract:
        """A contract that the account can see. Refused (404) when there is none."""
        contract = self.contracts.get(instance_id)
        if contract is None or contract.ended_at is not None or not self._visible(contract):
            raise Refused(404, "no_such_instance", f"Instance {instance_id} not found.")
        return contract

    def instances(self) -> list[Contract]:
        with self.lock:
            return [contract for contract in self.contracts.values() if contract.ended_at is None and self._visible(contract)]

    def _visible(self, contract: Contract) -> bool:
        return time.time() - contract.created_at >= self.faults.late_s

    def row(self, contract: Contract) -> dict[str, Any]:
        return contract.row(self.machines[contract.id].port, time.time())

    def destroy(self, instance_id: int, by: str) -> None:
        with self.lock:
            contract = self.instance(instance_id)
            if not self.faults.destroy_ignored:
                self._end(contract, by)

    def _end(self, contract: Contract, by: str) -> None:
        contract.end(by, time.time())
        self.machines.pop(contract.id).wipe()

    def stop(self, instance_id: int) -> None:
        """Stopped: the processes end, the disk stays and is billed, the instance stays listed."""
        with self.lock:
            contract = self.instance(instance_id)
            contract.intended = "stopped"
            self.machines[contract.id].halt()
            contract.turn("exited", time.time())

    def start(self, instance_id: int) -> None:
        with self.lock:
            contract = self.instance(instance_id)
            if contract.status == "exited":
                contract.intended = "running"
                contract.turn("loading", time.time())
                self.machines[contract.id].boot()

    def reboot(self, instance_id: int) -> None:
        """Stop and start with the same disk; onstart runs again."""
        with self.lock:
            contract = self.instance(instance_id)
            self.machines[contract.id].halt()
            contract.turn("loading", time.time())
            self.machines[contract.id].boot()

    # --- what only the rig can ask for

    def preempt(self, instance_id: int) -> None:
        """Outbid: the provider stops it; the user still pays for the disk."""
        with self.lock:
            contract = self.instance(instance_id)
            self.machines[contract.id].halt()
            contract.turn("exited", time.time())

    def vanish(self, instance_id: int) -> None:
        """The host is gone, and the instance with it, disk and all."""
        with self.lock:
            self._end(self.instance(instance_id), "provider")

    def truth(self) -> list[dict[str, Any]]:
        with self.lock:
            now = time.time()
            return [contract.truth(now) for contract in self.contracts.values()]
