"""The emulated provider behind its API: offers, contracts, machines. Knows nothing of HTTP."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, replace
from typing import Any

from tests.rigs.machines import nvidia
from tests.rigs.machines.machine import Machine
from tests.rigs.machines.provider import STAND_IN, Provider, Refused
from tests.rigs.vast import market
from tests.rigs.vast.contract import Contract
from tests.rigs.vast.market import Offer

API_PORT = 8899  # of the emulated API, in the rig's namespace and, through a socket, in every instance's own


class Cloud(Provider[Contract]):
    """One account's view of Vast."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.offers: list[Offer] = list(market.DEFAULT)
        self.ssh_keys: list[str] = []
        self._next_id = 9000

    # --- what a client can ask for

    def search(self, query: dict[str, Any]) -> list[market.Row]:
        with self.lock:
            rented = {contract.asked_offer for contract in self.rentals.values() if contract.ended_at is None}
            try:
                return market.search(self.offers, query, rented=rented)
            except market.BadQuery as error:
                raise Refused(400, "invalid_args", str(error)) from error

    def create(self, offer_id: int, body: dict[str, Any]) -> Contract:
        """Rent an offer. The machine boots in the background."""
        with self.lock:
            taken = {contract.asked_offer for contract in self.rentals.values() if contract.ended_at is None}
            offer = next((offer for offer in self.offers if offer.id == offer_id), None)
            if offer is None or offer_id in taken or self.faults.no_capacity:
                raise Refused(404, "no_such_ask", f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available.")
            if self.faults.wrong_gpu is not None:
                offer = replace(offer, gpu_name=self.faults.wrong_gpu)
            contract = self._contract(offer, offer_id, body)
            machine = self._machine(contract)
            # Assumed: a bid under the lowest winning one is taken, and the instance waits, unstarted, with its storage billed.
            outbid = contract.bid_usd_per_hour is not None and contract.bid_usd_per_hour < offer.min_bid
            self.add(contract, machine, starts=not outbid)
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
        env |= STAND_IN
        return Machine(
            folder=self.folder / str(contract.id),
            baked=self.baked,
            api_socket=self.api_socket,
            api_port=API_PORT,
            hostname=f"c{contract.id}",
            disk_gib=contract.disk_gb if offer.writable_gib is None else offer.writable_gib,
            gpu=gpu if offer.has_gpu else None,
            boot_s=offer.boot_s,
            env=env,
            onstart=contract.onstart,
            authorized_keys=list(self.ssh_keys),
            on_ready=lambda: self.ready(contract),
            log=self.log,
        )

    def row(self, contract: Contract) -> dict[str, Any]:
        return contract.row(self.machines[contract.id].port, time.time())

    def stop(self, instance_id: int) -> None:
        """Stopped: the processes end, the disk stays and is billed, the instance stays listed."""
        with self.lock:
            contract = self.find(instance_id)
            contract.intended = "stopped"
            self.machines[contract.id].halt()
            contract.turn("exited", time.time())

    def start(self, instance_id: int) -> None:
        with self.lock:
            contract = self.find(instance_id)
            if contract.status == "exited":
                contract.intended = "running"
                contract.turn("loading", time.time())
                self.machines[contract.id].boot()

    def act(self, do: str, arguments: dict[str, Any]) -> Any:
        if do != "offers":
            return super().act(do, arguments)
        with self.lock:
            if "set" in arguments:
                self.offers = [Offer(**one) for one in arguments["set"]]
            return [asdict(offer) for offer in self.offers]
