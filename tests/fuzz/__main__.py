"""Fuzzing of every reader of data: `make fuzz`, or `PYTHONPATH=tests python -m fuzz --help`."""

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz.drive import run_kinds, table
from fuzz.guided import available
from fuzz.kinds import KINDS, lacking


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="inputs of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--kinds", default="", help=f"of {' '.join(KINDS)}; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--guided", type=int, default=None, help="inputs of each kind that atheris finds (a fifth of --count)"
    )
    parser.add_argument("--replay", metavar="KIND:SEED", help="run one input in this process, and show everything")
    parser.add_argument("--save", type=Path, help="folder for the files of --replay")
    options = parser.parse_args()
    if options.replay:
        from fuzz.replay import replay

        return replay(options.replay, options.save or Path(tempfile.mkdtemp(prefix="fuzz-")))
    wanted = options.kinds.split() or list(KINDS)
    for name in [name for name in wanted if lacking(name)]:
        print(f"{name}: left out, because {lacking(name)} is not installed")
    wanted = [name for name in wanted if not lacking(name)]
    guided = options.count // 5 if options.guided is None else options.guided
    if guided and not available():
        print("atheris is not installed: no guided inputs")
    tallies = run_kinds(wanted, options.first, options.count, jobs=options.jobs, guided=guided)
    print(table(tallies))
    return 1 if any(tally.findings or tally.disagreements for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
