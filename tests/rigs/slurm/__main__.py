"""`python -m tests.rigs.slurm -- COMMAND...`: the rig, the command inside it, the truth; the exit code is the command's."""

import sys

from tests.rigs.slurm.rig import SlurmRig, reason_missing


def main(argv: list[str]) -> int:
    """argv: `--` and the command. 2 when there is no command, 3 when the rig cannot run here."""
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        print("usage: python -m tests.rigs.slurm -- COMMAND...", file=sys.stderr)
        return 2
    why = reason_missing()
    if why is not None:
        print(why, file=sys.stderr)
        return 3
    with SlurmRig() as rig:
        code = rig.popen(command).wait()
        for job in rig.truth():
            print(job, file=sys.stderr)
    for orphan in rig.orphans:
        print(f"left by an ended job, and ended: {orphan}", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
