"""The Vast rig.

with VastRig() as rig:
    rig.run(["vastai", "show", "instances"])
    rig.truth()
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

from tests.rigs.machines.rig import DRIVER, PROJECT, Emulated, OneCloudRig, reason_missing
from tests.rigs.vast import catalogs
from tests.rigs.vast.cloud import API_PORT
from tests.rigs.vast.market import Offer

__all__ = ["PROJECT", "VastCloud", "VastRig", "reason_missing"]


class VastCloud(Emulated):
    """The rig's side of the emulated Vast."""

    name: ClassVar[str] = "vast"
    module: ClassVar[str] = "tests.rigs.vast.emulator"
    env: ClassVar[dict[str, str]] = {"VAST_URL": f"http://127.0.0.1:{API_PORT}"}

    def make_home(self, home: Path) -> None:
        key = home / ".config" / "vastai" / "vast_api_key"
        key.parent.mkdir(parents=True, exist_ok=True)
        key.touch(mode=0o600)
        key.write_text(self.api_key)
        catalogs.seed_catalogs(home, self.offers)

    def fit(self) -> None:
        self.offers = [replace(offer, driver_version=DRIVER) for offer in self.offers]

    @property
    def offers(self) -> list[Offer]:
        return [Offer(**one) for one in self.ask("offers")]

    @offers.setter
    def offers(self, offers: list[Offer]) -> None:
        self.ask("offers", set=[asdict(offer) for offer in offers])


class VastRig(OneCloudRig):
    """A rig with Vast alone."""

    cloud: VastCloud

    def __init__(self) -> None:
        super().__init__(VastCloud)

    @property
    def offers(self) -> list[Offer]:
        return self.cloud.offers

    @offers.setter
    def offers(self, offers: list[Offer]) -> None:
        self.cloud.offers = offers
