"""Time of one training iteration of this checkout beside another one, such as that of the commit before a change.

git worktree add /tmp/before COMMIT
python benchmarks/versions.py /tmp/before [--cases demo 128-maps-16 ...] [--repeats 15] [--threads 1]

Each version runs in a process of its own, in turn, so that what else the machine does meets both. One JSON line for
each case: medians of the seconds, and the median of the ratios of neighbors in time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from machine import machine

CASES = {  # fmap_base, fmap_max, resolution, batch
    "demo": (128, 32, 16, 16),
    "512-maps-16": (8192, 512, 16, 4),
    "128-maps-16": (4096, 128, 16, 16),
    "128-maps-32": (4096, 128, 32, 16),
}

WORKER = """
import sys, time, torch
from train_step import Case, our_step
torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
step, _ = our_step(Case(*map(int, sys.argv[2:])), True)
for _ in sys.stdin:
    begin = time.perf_counter()
    step()
    print(time.perf_counter() - begin, flush=True)
"""
"""Makes one iteration for each line that it reads, and says how long that took."""


class Version:
    """A process that trains with the code of a checkout."""

    def __init__(self, checkout: Path, case: tuple[int, ...], threads: int) -> None:
        places = [str(checkout / "src"), str(checkout / "benchmarks")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", WORKER, str(threads), *map(str, case)]
        pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=env, cwd=checkout / "benchmarks", **pipe)

    def step(self) -> float:
        """Seconds of one iteration."""
        ask: IO[str] = self.process.stdin  # type: ignore[assignment]
        answer: IO[str] = self.process.stdout  # type: ignore[assignment]
        print(file=ask, flush=True)
        return float(answer.readline())

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()


def measure(name: str, other: Path, *, repeats: int, threads: int) -> dict[str, Any]:
    """Medians of both versions and of the ratios of neighbors in time; above 1, this checkout is slower."""
    here = Path(__file__).parents[1]
    versions = [Version(place, CASES[name], threads) for place in (here, other.resolve())]
    try:
        for version in versions * 3:  # warm up
            version.step()
        pairs = []
        for number in range(repeats):  # each of them first, in turn
            order = versions if number % 2 else versions[::-1]
            times = {version: version.step() for version in order}
            pairs.append([times[version] for version in versions])
    finally:
        for version in versions:
            version.end()
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return {"case": name, "repeats": repeats, "here_s": ours, "other_s": theirs, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="CHECKOUT", help="checkout of the other version")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    args = parser.parse_args()
    for name in args.cases:
        result = measure(name, args.other, repeats=args.repeats, threads=args.threads)
        print(json.dumps(result | machine() | {"threads": args.threads}), flush=True)


if __name__ == "__main__":
    main()
