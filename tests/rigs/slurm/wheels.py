"""The wheelhouse: wheels fetched once from the package index, from which nodes without a network install.

`wheelhouse()` gives its folder, `$XDG_CACHE_HOME/cloudtune-rigs/wheelhouse/<hash of the requirement lists>`. A folder counts only once it is complete:
it is filled under another name and renamed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_REQUIREMENTS = Path(__file__).resolve().parents[3] / "trainer/requirements"
# Each list is resolved on its own: SkyPilot's runtime wants setuptools<70, the trainer does not.
# SkyPilot on Slurm needs no ray: its Slurm template installs the wheel alone.
SOURCES_ONLY = ("python-hostlist==2.3.0",)  # no wheel on the index: built here
LISTS = (
    ("setuptools<70", "wheel", "pip", "click<8.2", "skypilot[slurm,remote]==0.14.1"),
    ("-r", str(_REQUIREMENTS / "base.in"), "-c", str(_REQUIREMENTS / "cu130.lock")),  # as the box asks for them
    ("uv", "setuptools", "wheel"),
)


def cache_folder() -> Path:
    """Where rigs keep what can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudtune-rigs"


def wheelhouse() -> Path:
    """The folder of wheels, filled from the package index if it is not there yet (some 300 MB; CalledProcessError if that fails)."""
    digest = hashlib.sha256(
        json.dumps(
            [SOURCES_ONLY, LISTS, [(_REQUIREMENTS / name).read_text() for name in ("base.in", "cu130.lock")], sys.version_info[:2]]
        ).encode()
    ).hexdigest()[:16]
    done = cache_folder() / "wheelhouse" / digest
    if done.is_dir():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    filling = Path(tempfile.mkdtemp(prefix="filling-", dir=done.parent))
    pip = [sys.executable, "-m", "pip"]
    try:
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(filling), *SOURCES_ONLY], check=True)
        for requirements in LISTS:
            argv = [
                *pip,
                "download",
                "--quiet",
                "--only-binary",
                ":all:",
                "--find-links",
                str(filling),
                "--dest",
                str(filling),
                *requirements,
            ]
            subprocess.run(argv, check=True)
        tools = [*pip, "install", "--quiet", "--no-index", "--find-links", str(filling)]
        subprocess.run([*tools, "--target", str(filling / "tools"), "uv"], check=True)
        filling.rename(done)
    finally:
        shutil.rmtree(filling, ignore_errors=True)  # gone already if it was renamed
    return done
