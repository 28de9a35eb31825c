"""The process that reads inputs, one after the other; it may die of one, and is then started again behind it."""

import contextlib
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def main(kinds: str, first: int, last: int, light: str = "") -> None:
    """Run the inputs ``first`` to ``last`` of some kinds; print lines of JSON before and after each.

    Args:
        kinds: names of the kinds, separated by commas.
        first: first seed.
        last: the seed after the last one.
        light: 'light' leaves out what is written by hand, such as bombs.
    """
    import cv2

    from fuzz import watch
    from fuzz.check import Checker

    out, noise = watch.quiet()
    watch.limit_memory()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    os.umask(0o022)
    for kind in kinds.split(","):
        _warm_up(kind, 1 if light else 16)
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as name:
        checker = Checker(Path(name).resolve(), noise)
        for kind in kinds.split(","):
            _run(checker, kind, range(first, last), light=bool(light), say=lambda facts: os.write(out, _line(facts)))
        os.chdir("/")


def _warm_up(kind: str, count: int) -> None:
    """Make sound cases, and import what that needs, before anything is watched."""
    from fuzz.kinds import pool

    for number in range(count):
        with contextlib.suppress(Exception):  # told when its turn comes
            pool(kind, number)


def _line(facts: dict) -> bytes:
    return (json.dumps(facts) + "\n").encode()


def _run(checker, kind: str, seeds: range, *, light: bool, say: Callable[[dict], object]) -> None:
    from fuzz.kinds import by_hand_at, make

    for seed in seeds:
        if light and by_hand_at(seed) is not None:
            continue
        say({"begin": seed})
        try:
            outcome = checker.run(make(kind, seed), seed, lambda seed=seed: say({"made": seed}))
        except Exception:
            say({"broken": f"the harness itself failed: {traceback.format_exc()}"})
            return
        say({"kind": kind, "seed": seed, **outcome.facts()})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
