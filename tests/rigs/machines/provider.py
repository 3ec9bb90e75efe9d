"""An emulated provider behind its API, as far as every cloud has it: keys, rentals, their machines, faults. Knows nothing of HTTP."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.rigs.machines import faults
from tests.rigs.machines.faults import Faults
from tests.rigs.machines.image import WHEELHOUSE, Image
from tests.rigs.machines.machine import Machine
from tests.rigs.machines.rental import Rental

R = TypeVar("R", bound=Rental)
# What stands in for a network in an instance: the package index is a folder, and behind its nvidia-smi there is no GPU.
STAND_IN = {
    "CLOUDTUNE_BOX_MAY_TRAIN_ON_CPU": "1",
    "UV_FIND_LINKS": WHEELHOUSE,
    "UV_OFFLINE": "1",
    "UV_NO_INDEX": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "PIP_FIND_LINKS": WHEELHOUSE,
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": "/dev/null",
}


class Refused(Exception):
    """The API says no. `status` is HTTP's; how `error` and `msg` are written is the API's affair."""

    def __init__(self, status: int, error: str, msg: str) -> None:
        super().__init__(msg)
        self.status, self.error, self.msg = status, error, msg


class Provider(Generic[R]):
    """One account's view of a cloud. Every method may be called from any thread."""

    def __init__(self, *, folder: Path, baked: Image, account_key: str, api_socket: Path, log: Callable[[str], None]) -> None:
        self.folder, self.baked, self.account_key, self.api_socket, self.log = folder, baked, account_key, api_socket, log
        self.faults = self.no_faults()
        self.rentals: dict[int | str, R] = {}
        self.machines: dict[int | str, Machine] = {}
        self.lock = threading.RLock()
        self._asked: Counter[str] = Counter()

    @staticmethod
    def no_faults() -> Faults:
        return Faults()

    # --- what every call passes through

    def who(self, key: str) -> str | int:
        """ "account", or the id of the instance whose own key this is. Refused (401) for any other."""
        if secrets.compare_digest(key, self.account_key) and not self.faults.key_revoked:
            return "account"
        with self.lock:
            for rental in self.rentals.values():
                if secrets.compare_digest(key, rental.key) and rental.ended_at is None:
                    return rental.id
        raise Refused(401, "auth_error", "Invalid user key")

    def faulty(self, call: str, run: Callable[[], Any]) -> Any:
        """Run one call with its faults before and after the effect, so that every call can fail either way."""
        with self.lock:
            now, asked = self.faults, self._asked[call]
            self._asked[call] += 1
            if faults.spent(now.rate_limited, call):
                raise Refused(429, "rate_limited", f"{call}: too many requests")
            if faults.spent(now.fail_before, call) or faults.in_burst(now.bursts, call, asked):
                raise Refused(now.fail_status, "rig_fault", f"{call} failed before its effect")
        answer = run()
        with self.lock:
            if faults.spent(now.fail_after, call):
                raise Refused(now.fail_status, "rig_fault", f"{call} failed after its effect")
        return answer

    # --- rentals

    def add(self, rental: R, machine: Machine, *, starts: bool = True) -> None:
        """Into the books, with an empty disk. It boots in the background, if it `starts` and nothing is wrong."""
        machine.prepare()
        self.rentals[rental.id], self.machines[rental.id] = rental, machine
        if starts and not self.faults.never_ready:
            machine.boot()

    def ready(self, rental: R) -> None:
        """Its machine has come up."""
        with self.lock:
            if rental.ended_at is None and rental.status == "loading":
                rental.turn("running", time.time())

    def listed(self) -> list[R]:
        with self.lock:
            return [rental for rental in self.rentals.values() if rental.ended_at is None and self._visible(rental)]

    def find(self, rental_id: int | str) -> R:
        """A rental that the account can see. Refused (404) when there is none."""
        rental = self.rentals.get(rental_id)
        if rental is None or rental.ended_at is not None or not self._visible(rental):
            raise Refused(404, "no_such_instance", f"Instance {rental_id} not found.")
        return rental

    def _visible(self, rental: R) -> bool:
        return time.time() - rental.created_at >= self.faults.late_s

    def destroy(self, rental_id: int | str, by: str) -> None:
        with self.lock:
            rental = self.find(rental_id)
            if not self.faults.destroy_ignored:
                self.end(rental, by)

    def end(self, rental: R, by: str) -> None:
        rental.end(by, time.time())
        self.machines.pop(rental.id).wipe()

    def reboot(self, rental_id: int | str) -> None:
        """Stop and start with the same disk; what starts with the machine runs again."""
        with self.lock:
            rental = self.find(rental_id)
            self.machines[rental.id].halt()
            rental.turn("loading", time.time())
            self.machines[rental.id].boot()

    # --- what only the rig can ask for

    def act(self, do: str, arguments: dict[str, Any]) -> Any:
        """The side door (control.py)."""
        with self.lock:
            if do == "truth":
                return [rental.truth(time.time()) for rental in self.rentals.values()]
            if do == "misbehave":
                self.faults = self.faults.changed(**arguments)
                self._asked.clear()
                return asdict(self.faults)
            if do in ("preempt", "vanish", "reboot", "rekey"):
                return getattr(self, do)(arguments.pop("id"), **arguments)
        raise ValueError(f"the rig cannot {do}")

    def preempt(self, rental_id: int | str, notice_s: float = 0.0, everyone: bool = False) -> None:
        """Somebody else gets it: SIGTERM to process 1 or to `everyone` inside, after `notice_s` the end of all processes."""
        rental = self.find(rental_id)
        if notice_s:
            self.machines[rental.id].terminate(everyone=everyone)
            threading.Timer(notice_s, self._interrupt, (rental,)).start()
        else:
            self._interrupt(rental)

    def _interrupt(self, rental: R) -> None:
        with self.lock:
            if rental.ended_at is None:
                self.interrupted(rental)

    def interrupted(self, rental: R) -> None:
        """It stands still from now on, as the cloud does it."""
        self.machines[rental.id].halt()
        rental.turn("exited", time.time())

    def vanish(self, rental_id: int | str) -> None:
        """The host is gone, and the instance with it, disk and all."""
        self.end(self.find(rental_id), "provider")

    def rekey(self, rental_id: int | str) -> None:
        """From the next connection on its sshd shows other host keys."""
        self.machines[self.find(rental_id).id].rekey()
