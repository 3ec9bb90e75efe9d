"""cloudtune's own home for SkyPilot: who deletes it still reaches the instances that were made from it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from orchestrator.backends.skypilot.home import SkyHome


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH: apt-get install -y openssh-client")
def test_name_and_key_outlive_the_home(tmp_path: Path) -> None:
    home = SkyHome(tmp_path / "sky")
    home.make([])
    name, key = home.user_id, home.private_key().read_text()
    assert len(name) == 8 and "PRIVATE KEY" in key
    assert home.private_key().with_suffix(".pub").read_text().startswith("ssh-rsa ")
    shutil.rmtree(home.folder)
    again = SkyHome(tmp_path / "sky")
    assert again.environment()["SKYPILOT_USER_ID"] == name
    assert again.private_key().read_text() == key
    for path in (again.private_key(), again.identity / "sky-key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in again.identity.iterdir() if path.name.startswith(".")] == []


def test_the_users_own_home_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    SkyHome(users_own=True).make([])
    assert "SKYPILOT_USER_ID" not in SkyHome(users_own=True).environment()
    assert list(tmp_path.iterdir()) == []
