"""Run a command beside emulated clouds:

python -m tests.rigs.machines vast runpod [--home FOLDER] -- COMMAND ...     exit code of COMMAND; the truth is printed to stderr
python -m tests.rigs.machines --bake                                         only bake the instances' image
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rigs.machines import image
from tests.rigs.machines.rig import Emulated, Rig, reason_missing

CLOUDS = {"vast": ("tests.rigs.vast.rig", "VastCloud"), "runpod": ("tests.rigs.runpod.rig", "RunPodCloud")}


def cloud(name: str) -> type[Emulated]:
    """The class of a cloud, by its name."""
    module, kind = CLOUDS[name]
    found: type[Emulated] = getattr(importlib.import_module(module), kind)
    return found


def main(argv: list[str]) -> int:
    """`argv`: as above. 2 when the rig cannot run here."""
    own, command = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = argparse.ArgumentParser(
        prog="python -m tests.rigs.machines", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clouds", nargs="*", metavar="CLOUD", choices=[*CLOUDS, []], help=f"of {', '.join(CLOUDS)}")
    parser.add_argument("--bake", action="store_true", help="bake the image and stop")
    parser.add_argument("--home", type=Path, help="HOME of COMMAND (default: a fresh one)")
    asked = parser.parse_args(own)
    if reason := reason_missing():
        print(reason, file=sys.stderr)
        return 2
    if asked.bake:
        print(image.ensure().folder)
        return 0
    if not asked.clouds or not command:
        parser.error("say which clouds, and after -- what to run")
    with tempfile.TemporaryDirectory(prefix="rig-home-") as fresh, Rig(*map(cloud, asked.clouds)) as rig:
        home = rig.make_home((asked.home or Path(fresh)).resolve())
        inside = ["env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_STATE_HOME", "-u", "XDG_CACHE_HOME", "--", *command]
        code = subprocess.run(rig.netns.enter(inside), env=rig.environment({"HOME": str(home)}), check=False).returncode
        json.dump(rig.truth(), sys.stderr, indent=1)
        print(file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
