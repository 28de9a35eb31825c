"""Inputs that atheris finds by the lines of progan that they reach; they replace the largest file of a sound case."""

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

from fuzz.cases import Case
from fuzz.drive import Tally, listen, start
from fuzz.kinds import pool

_CASES, _MOST_BYTES = 16, 1 << 16
KEPT = Path(tempfile.gettempdir()) / "progan-fuzz"
"""Folder of the inputs that were findings."""


def available() -> bool:
    """Return whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def guided_case(kind: str, data: bytes) -> Case:
    """Return the case of which the first byte of ``data`` is the number, and the rest the largest file."""
    case = pool(kind, data[0] % _CASES if data else 0)
    return case.changed("guided", files=case.files | {_largest(case): data[1:]})


def _largest(case: Case) -> str:
    return max(
        (name for name, data in case.files.items() if isinstance(data, bytes)), key=lambda name: len(case.files[name])
    )  # pyright: ignore[reportArgumentType]


def run_guided(tally: Tally, count: int) -> None:
    """Run inputs of a kind, and add up; a process that dies is started again with another seed."""
    KEPT.mkdir(exist_ok=True)
    done, seed = 0, 1
    while done < count and seed < 200 and available():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            worker = start([sys.executable, "-m", "fuzz.guided", tally.kind, str(count - done), str(seed), place])
            text = ""
            try:
                for facts in listen(worker):
                    text = facts.get("blocked", facts.get("broken", text))
                    if "seed" in facts:
                        done += 1
                        tally.guided += 1
                        _add(tally, facts, Path(place) / "current", f"{seed}-{facts['seed']}")
            finally:
                worker.kill()
                worker.wait()
            if worker.returncode or text:
                done += 1
                tally.guided += 1
                facts = {
                    "result": "finding",
                    "note": "guided",
                    "text": text or f"the process died ({worker.returncode})",
                    "disagreements": [],
                }
                _add(tally, facts, Path(place) / "current", f"{seed}-died")
            elif worker.returncode == 0:
                break
        seed += 1


def _add(tally: Tally, facts: dict, current: Path, name: str) -> None:
    if facts["result"] != "finding" and not facts["disagreements"]:
        return
    kept = KEPT / f"{tally.kind}-{name}"
    with contextlib.suppress(OSError):
        kept.write_bytes(bytes.fromhex(facts["data"]) if "data" in facts else current.read_bytes())
    if facts["result"] == "finding":
        tally.tell(tally.findings, "finding", f"{tally.kind}@{kept}", facts["text"])
    for wrong in facts["disagreements"]:
        tally.tell(tally.disagreements, "disagreement", f"{tally.kind}@{kept}", wrong)


def main(kind: str, count: int, seed: int, place: Path) -> None:
    """Let atheris run inputs in this process."""
    from fuzz import watch

    out, noise = watch.quiet()
    warnings.simplefilter("ignore")
    import atheris

    with atheris.instrument_imports(include=["progan"]):
        from fuzz.check import Checker
    corpus = place / "corpus"
    corpus.mkdir()
    for number in range(_CASES):
        case = pool(kind, number)
        (corpus / str(number)).write_bytes(bytes([number]) + case.files[_largest(case)])  # pyright: ignore[reportOperatorIssue]
    checker, current = Checker((place / "root").resolve(), noise), os.open(place / "current", os.O_RDWR | os.O_CREAT)
    numbers = iter(range(1 << 40))

    def one(data: bytes) -> None:
        number = next(numbers)
        os.pwrite(current, data, 0)
        os.ftruncate(current, len(data))
        os.write(out, b'{"made": %d}\n' % number)
        facts = {"seed": number, **checker.run(guided_case(kind, data), number).facts()}
        if facts["result"] == "finding" or facts["disagreements"]:
            facts["data"] = data.hex()
        os.write(out, (json.dumps(facts) + "\n").encode())

    how = [
        f"-runs={count}",
        f"-seed={seed}",
        f"-max_len={_MOST_BYTES}",
        "-rss_limit_mb=0",
        "-timeout=100",
        f"-artifact_prefix={place}/",
    ]
    atheris.Setup(["fuzz", *how, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
