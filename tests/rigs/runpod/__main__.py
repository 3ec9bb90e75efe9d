"""`python -m tests.rigs.runpod [--home FOLDER] -- COMMAND ...`: a RunPod rig, the command beside it, the truth to stderr."""

import sys

from tests.rigs.machines.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["runpod", *sys.argv[1:]]))
