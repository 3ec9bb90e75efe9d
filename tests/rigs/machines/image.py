"""Bakes what the rig's instances boot with, once, into a cache folder; used again while its inputs stay the same.

The image has two folders: `home/`, root's home, with uv and SkyPilot's runtime in it as a ready provider image would have them,
and `wheelhouse/`, from which an instance without a network installs the trainer's environment. The bake itself needs the package index.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HOME = "/rigroot"  # root's home in an instance; a virtual environment does not survive a move, so it is baked at this path
WHEELHOUSE = "/opt/wheelhouse"
RECIPE = 4  # raise it when the steps below change

# What SkyPilot 0.14.1 installs on a fresh machine (sky/skylet/constants.py, RAY_INSTALLATION_COMMANDS and UV_INSTALLATION_COMMANDS).
# The providers' clients are pinned to those of the computer under the rig: an older vastai-sdk has a fixed server address, and the
# teardown from inside would look for the real provider.
RUNTIME = ["setuptools<70", "wheel", "pip", "click<8.3.0", "ray[default]==2.9.3", "pydantic-core==2.41.1"]
CLIENTS = ("vastai-sdk", "runpod")
TRAINER = [
    "torch==2.13.0",
    "transformers>=5.17,<5.18",
    "peft>=0.21,<0.22",
    "accelerate>=1.15,<2",
    "bitsandbytes>=0.50,<0.51",
    "safetensors",
    "gguf",
    "huggingface_hub<1.17",
]


@dataclass(frozen=True, kw_only=True)
class Image:
    """A baked image. `folder` holds home/, wheelhouse/ and sky_wheels/<hash>/."""

    folder: Path
    python: str  # the interpreter that instances offer as python3.11

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def wheelhouse(self) -> Path:
        return self.folder / "wheelhouse"

    def seed_wheel(self, home: Path) -> None:
        """Put SkyPilot's own wheel where its server looks before it builds one; building needs a package index."""
        for source in (self.folder / "sky_wheels").iterdir():
            target = home / ".sky" / "wheels" / source.name
            target.mkdir(parents=True, exist_ok=True)
            for wheel in source.iterdir():
                shutil.copy(wheel, target)  # with today's time: SkyPilot takes a wheel older than its sources for stale


def box_python() -> str:
    """Debian's own 3.11 where there is one, else the interpreter that runs this. An instance sees both: its lower layer is `/`."""
    debian = Path("/usr/bin/python3.11")
    return str(debian) if debian.exists() else os.path.realpath(sys.executable)


def inputs() -> dict[str, object]:
    """What the image is made of; the same inputs, the same folder."""
    clients = {name: version(name) for name in ("skypilot", *CLIENTS)}
    return {"recipe": RECIPE, "python": box_python(), "runtime": RUNTIME, "trainer": TRAINER, **clients}


def cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cloudtune-rigs" / "machines"


def ensure() -> Image:
    """The image for today's inputs, baked now if it is not there yet (a minute or two with a warm package cache)."""
    name = hashlib.sha256(json.dumps(inputs(), sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_root() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f"{name}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=folder.parent) as scratch:
                _bake(Path(scratch) / "image", Path(scratch))
                (Path(scratch) / "image").rename(folder)
    return Image(folder=folder, python=box_python())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two rigs that start at once bake one image
        yield


def _bake(image: Path, scratch: Path) -> None:
    for part in ("home/.local/bin", "wheelhouse", "sky_wheels"):
        (image / part).mkdir(parents=True)
    tools, runtime_wheels = scratch / "tools", scratch / "runtime"
    _say("bake: tools")
    _run([box_python(), "-m", "venv", str(tools)])
    pip = [str(tools / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "install", "uv"])
    shutil.copy(tools / "bin/uv", image / "home/.local/bin/uv")
    _say("bake: SkyPilot's runtime")
    clients = [f"{name}=={version(name)}" for name in CLIENTS]
    _run([*pip, "wheel", "-w", str(runtime_wheels), *RUNTIME, f"skypilot[vast,runpod,remote]=={version('skypilot')}", *clients])
    _say("bake: the trainer's wheels")
    _run([*pip, "download", "--only-binary", ":all:", "-d", str(image / "wheelhouse"), *TRAINER])
    _say("bake: SkyPilot's wheel of itself")
    sky_hash = _build_sky_wheel(image / "sky_wheels", scratch / "skyhome")
    _say("bake: environments")
    install = scratch / "install.sh"
    install.write_text(_INSTALL)
    argv = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-eu", "-c", _ENTER, "bake"]
    _run([*argv, str(scratch), str(image / "home"), HOME, box_python(), " ".join(clients), sky_hash])


# In a private mount namespace: `/` under a throw-away layer, with the image's home bound to the path at which it will be used.
# $1 scratch  $2 image's home  $3 its path inside  $4 python  $5 the providers' clients  $6 hash of SkyPilot's wheel
_ENTER = """
S=$1; T=$S/over; mkdir -p $T; mount -t tmpfs tmpfs $T; mkdir $T/u $T/w $T/m
mount -t overlay overlay -o lowerdir=/,upperdir=$T/u,workdir=$T/w $T/m
mount --rbind /dev $T/m/dev; mount -t proc proc $T/m/proc
mkdir -p $T/m$3 $T/m/mnt/scratch; mount --bind $2 $T/m$3; mount --bind $S $T/m/mnt/scratch
exec chroot $T/m env -i HOME=$3 PATH=/usr/local/bin:/usr/bin:/bin UV_OFFLINE=1 UV_NO_INDEX=1 UV_LINK_MODE=copy UV_NO_CACHE=1 \\
  UV_PYTHON_DOWNLOADS=never sh -eu /mnt/scratch/install.sh "$4" "$5" "$6"
"""

# SkyPilot asks uv for Python 3.10; Debian 12 has 3.11 alone. The runtime is there already when SkyPilot arrives, so that it never asks.
_INSTALL = """
UV=$HOME/.local/bin/uv; RUNTIME=$HOME/skypilot-runtime
$UV venv -q --seed --find-links /mnt/scratch/runtime --python "$1" $RUNTIME
export VIRTUAL_ENV=$RUNTIME
$UV pip install -q --find-links /mnt/scratch/runtime "setuptools<70" "click<8.3.0" "ray[default]==2.9.3" "pydantic-core==2.41.1"
WHEEL=$(ls /mnt/scratch/image/sky_wheels/$3/skypilot-*.whl)
$UV pip install -q --find-links /mnt/scratch/runtime "skypilot[vast,runpod,remote] @ file://$WHEEL" $2
$UV pip install -q --find-links /mnt/scratch/runtime pip "setuptools<70" wheel
mkdir -p $HOME/.sky/wheels; echo $3 > $HOME/.sky/wheels/current_sky_wheel_hash
unset VIRTUAL_ENV
$UV venv -q --seed --find-links /mnt/scratch/runtime --relocatable --system-site-packages --python "$1" $HOME/sky-user-env
"""


def _build_sky_wheel(target: Path, home: Path) -> str:
    """SkyPilot ships itself to the machine as a wheel and compares its hash there. Returns that hash."""
    home.mkdir()
    build = "from sky.backends import wheel_utils; print(wheel_utils.build_sky_wheel()[1])"
    env = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    sky_hash = _run([sys.executable, "-c", build], env=env).split()[-1]
    shutil.copytree(home / ".sky/wheels" / sky_hash, target / sky_hash)
    return sky_hash


def _run(argv: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[:6]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
