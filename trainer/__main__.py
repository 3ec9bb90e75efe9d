"""``python -P -m trainer CONFIG.json``: train one adapter. The exit codes are in :mod:`trainer.supervise`."""

from __future__ import annotations

import sys

from .contract import ExitCode
from .supervise import __doc__ as exit_codes
from .supervise import main

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(f"usage: python -P -m trainer CONFIG.json\n\n{exit_codes}")
        sys.exit(0 if len(sys.argv) == 2 else ExitCode.BAD_CONFIG)
    sys.exit(main(sys.argv[1]))
