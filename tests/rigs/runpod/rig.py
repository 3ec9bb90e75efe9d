"""The RunPod rig.

with RunPodRig() as rig:
    rig.run([sys.executable, "-c", "import runpod; print(runpod.get_pods())"], env={"HOME": str(rig.make_home(folder))})
    rig.truth()
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

from tests.rigs.machines.rig import DRIVER, Emulated, OneCloudRig, reason_missing
from tests.rigs.runpod import catalogs
from tests.rigs.runpod.cloud import API_PORT
from tests.rigs.runpod.market import GpuType

__all__ = ["RunPodCloud", "RunPodRig", "reason_missing"]


class RunPodCloud(Emulated):
    """The rig's side of the emulated RunPod."""

    name: ClassVar[str] = "runpod"
    module: ClassVar[str] = "tests.rigs.runpod.emulator"
    env: ClassVar[dict[str, str]] = {"RUNPOD_API_BASE_URL": f"http://127.0.0.1:{API_PORT}"}

    def make_home(self, home: Path) -> None:
        settings = home / ".runpod" / "config.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.touch(mode=0o600)
        settings.write_text(f'[default]\napi_key = "{self.api_key}"\n')
        catalogs.seed_catalogs(home, self.gpus)

    def fit(self) -> None:
        self.gpus = [replace(gpu, driver_version=DRIVER, cuda=13.0) for gpu in self.gpus]

    @property
    def gpus(self) -> list[GpuType]:
        return [GpuType(**{**one, "data_centers": tuple(one["data_centers"])}) for one in self.ask("gpus")]

    @gpus.setter
    def gpus(self, gpus: list[GpuType]) -> None:
        self.ask("gpus", set=[asdict(gpu) for gpu in gpus])


class RunPodRig(OneCloudRig):
    """A rig with RunPod alone."""

    cloud: RunPodCloud

    def __init__(self) -> None:
        super().__init__(RunPodCloud)

    @property
    def gpus(self) -> list[GpuType]:
        return self.cloud.gpus

    @gpus.setter
    def gpus(self, gpus: list[GpuType]) -> None:
        self.cloud.gpus = gpus
