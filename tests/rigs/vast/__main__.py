"""`python -m tests.rigs.vast [--home FOLDER] -- COMMAND ...`: a Vast rig, the command beside it, the truth to stderr."""

import sys

from tests.rigs.machines.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["vast", *sys.argv[1:]]))
