"""Run a command beside a Vast rig:

python -m tests.rigs.vast [--home FOLDER] -- COMMAND ...     exit code of COMMAND; the rig's truth is printed to stderr
python -m tests.rigs.vast --bake                             only bake the instances' image
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rigs.vast import image
from tests.rigs.vast.rig import VastRig, reason_missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rigs.vast", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bake", action="store_true", help="bake the image and stop")
    parser.add_argument("--home", type=Path, help="HOME of COMMAND (default: a fresh one)")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    asked = parser.parse_args()
    if reason := reason_missing():
        print(reason, file=sys.stderr)
        return 2
    if asked.bake:
        print(image.ensure().folder)
        return 0
    if not asked.command:
        parser.error("say what to run, after --")
    with tempfile.TemporaryDirectory(prefix="vast-home-") as fresh, VastRig() as rig:
        home = rig.make_home((asked.home or Path(fresh)).resolve())
        own = ["env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_STATE_HOME", "-u", "XDG_CACHE_HOME", "--", *asked.command]
        code = subprocess.run(rig.netns.enter(own), env=rig.environment({"HOME": str(home)}), check=False).returncode
        json.dump(rig.truth(), sys.stderr, indent=1)
        print(file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
