"""cloudtune's own home for SkyPilot: its state, its settings, links to the credentials of the clouds in use, nothing else.

SkyPilot keeps everything below ``$HOME/.sky`` and reads each cloud's credentials below ``$HOME``; with a ``HOME`` of
its own it neither sees nor changes the user's ``~/.sky``. Must not start anything.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.backends.skypilot.pricelist import write_names, write_offers
from orchestrator.ledger.paths import private, state_dir
from orchestrator.plan.offers import Offer
from trainer.contract import write_atomically

# below a home: where each cloud's own tools keep its credentials (``sky/clouds/*.py``, get_credential_file_mounts)
CREDENTIALS = {
    "vast": ".config/vastai",
    "slurm": ".slurm",
    "runpod": ".runpod",
    "lambda": ".lambda_cloud",
    "aws": ".aws",
    "gcp": ".config/gcloud",
    "azure": ".azure",
}
# opened even when nothing is rented there yet: SkyPilot's server does not take in a cloud that is added while it runs
ALWAYS = frozenset({"vast", "runpod"})
PLUGIN = "orchestrator.backends.skypilot.plugin.Repairs"
USER_FILE = "user-id"
KEY_FILE = "sky-key"  # SkyPilot's name for it
PORT_FILE = "port"
WORKER = "orchestrator.backends.skypilot.worker"  # the module that is started, and known by this name
USERS_OWN = "--users-own"  # said to the worker in place of a folder
SECTIONS = ("slurm", "vast", "runpod", "lambda", "aws", "gcp", "azure")  # of the user's own SkyPilot settings, taken over


class SkyHome:
    """One home. ``users_own``: the user's ``$HOME`` itself (``--use-my-skypilot``), which is left as it is."""

    def __init__(self, folder: Path | None = None, *, users_own: bool = False) -> None:
        self.users_own = users_own
        self.folder = Path.home() if users_own else folder or state_dir() / "skypilot"
        self.identity = self.folder.with_name(f"{self.folder.name}-identity")  # outlives the home

    def make(self, offers: Sequence[Offer]) -> None:
        """Create what is missing and open it to these offers' clouds. Idempotent; raises OSError, ValueError."""
        if self.users_own:
            return
        private(self.folder / ".sky")
        for cloud in sorted({offer.cloud for offer in offers} | ALWAYS):
            self._link(cloud)
        self.user_id  # noqa: B018 - makes what is missing
        open_to = sorted(cloud for cloud, place in CREDENTIALS.items() if (self.folder / place).exists())
        write_atomically(self.folder / ".sky/config.yaml", yaml.safe_dump(self._settings(open_to)))
        write_atomically(self.folder / ".sky/plugins.yaml", yaml.safe_dump({"plugins": [{"class": PLUGIN}]}))
        lists = self.folder / ".sky/catalogs/v8"
        write_offers(lists, offers)
        write_names(lists, {offer.gpu for offer in offers if offer.count})

    def _link(self, cloud: str) -> None:
        place = CREDENTIALS.get(cloud)
        if place is None:
            return
        source, target = Path.home() / place, self.folder / place
        if source.exists() and source.resolve() != target.resolve():
            private(target.parent)
            if target.is_symlink():
                target.unlink()
            target.symlink_to(source)

    def _settings(self, clouds: list[str]) -> dict[str, Any]:
        """SkyPilot's config: these clouds only, and of the user's own settings what concerns them."""
        try:
            own = yaml.safe_load((Path.home() / ".sky/config.yaml").read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError):
            own = {}
        taken = {key: own[key] for key in SECTIONS if key in clouds and isinstance(own.get(key), dict)}
        return {"allowed_clouds": clouds, **taken}

    @property
    def logs(self) -> Path:
        """Where the worker's log lies."""
        return state_dir() / "skypilot" if self.users_own else self.folder

    @property
    def user_id(self) -> str:
        """Eight hex digits that end every name SkyPilot gives an instance of ours. Made, with the key, where it is missing."""
        if self.users_own:
            return os.environ.get("SKYPILOT_USER_ID") or (self.folder / ".sky/user_hash").read_text(encoding="utf-8").strip()
        with open(private(self.identity) / "lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may begin at once
            if not (self.identity / USER_FILE).exists():
                write_atomically(self.identity / USER_FILE, secrets.token_hex(4))
            known = (self.identity / USER_FILE).read_text(encoding="utf-8").strip()
            self._hand_over_key(self.folder / ".sky/clients" / known / "ssh")
        return known

    def _hand_over_key(self, place: Path) -> None:
        """The SSH key that goes on every instance lies beside the home: who deletes SkyPilot's state can still reach them.

        Made here, because SkyPilot takes the one that it finds (``sky/utils/auth_utils.py``).
        """
        keygen, key = shutil.which("ssh-keygen"), self.identity / KEY_FILE
        if not key.exists() and keygen is not None:
            made = self.identity / f".{KEY_FILE}-{os.getpid()}"
            subprocess.run(
                [keygen, "-q", "-t", "rsa", "-b", "3072", "-m", "PEM", "-N", "", "-C", "", "-f", str(made)], check=True, timeout=60
            )
            for source, target in ((made.with_suffix(".pub"), key.with_suffix(".pub")), (made, key)):
                os.replace(source, target)
        if not (place / KEY_FILE).exists() and key.exists():
            for one in (key.with_suffix(".pub"), key):
                write_atomically(private(place) / one.name, one.read_text(encoding="utf-8"))
                (place / one.name).chmod(0o600)

    def environment(self) -> dict[str, str]:
        """What the worker needs in its environment."""
        if self.users_own:
            return {**os.environ, "PYTHONPATH": _code()}
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("SKYPILOT_", "SKY_"))}
        ours |= {"HOME": str(self.folder), "SKYPILOT_USER_ID": self.user_id, "PYTHONPATH": _code()}
        return ours | {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}

    def private_key(self) -> Path:
        """The SSH key that SkyPilot puts on every instance of this user (``sky/utils/auth_utils.py``)."""
        return self.folder / ".sky/clients" / self.user_id / "ssh" / KEY_FILE


def _code() -> str:
    """Where the server finds the plugin."""
    return str(Path(__file__).resolve().parents[3])
