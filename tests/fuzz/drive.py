"""Starts the workers, watches the clock, restarts what has died, and adds up."""

import json
import os
import re
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.watch import MOST_S

_WAIT_S, _START_S = 15, 300  # for something else than the processor, while an input is read and before
_TELL_S = 30.0
_MOST_TOLD = 3  # findings of a kind that are printed of those that look alike
ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What came of the inputs of a kind."""

    kind: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    pictures: int = 0
    compared: int = 0
    disagreements: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    guided: int = 0
    seconds: float = 0.0
    bytes: int = 0
    alike: Counter[str] = field(default_factory=Counter)

    def add(self, facts: dict) -> None:
        """Count one outcome, and print what is wrong with it."""
        self.inputs += 1
        self.read += facts["result"] == "read"
        self.refused += facts["result"] == "refused"
        self.pictures += facts["pictures"]
        self.compared += facts["compared"]
        self.bytes = max(self.bytes, facts["bytes"])
        where = f"{self.kind}:{facts['seed']}"
        if facts["result"] == "finding":
            self.tell(self.findings, "finding", where, f"({facts['note']}) {facts['text']}")
        for wrong in facts["disagreements"]:
            self.tell(self.disagreements, "disagreement", where, f"({facts['note']}) {wrong}")

    def tell(self, to: list[str], what: str, where: str, text: str) -> None:
        """Keep and print one finding or disagreement, with the command that repeats it."""
        to.append(f"{where} {text}")
        plain = re.sub(r"/\S+|[0-9]+|'[^']*'|\([^)]*\)", "", text.strip())
        alike = plain[-200:] if plain.startswith("File") else plain[:100]
        self.alike[alike] += 1
        if self.alike[alike] <= _MOST_TOLD:
            again = f"PYTHONPATH=tests {Path(sys.executable).name} -m fuzz --replay {where}"
            print(f"{what} {where}: {text.strip()}\n  again: {again}", flush=True)


def run_kinds(kinds: Sequence[str], first: int, count: int, *, jobs: int, guided: int) -> list[Tally]:
    """Run inputs of several kinds in ``jobs`` processes."""
    tallies = [Tally(kind) for kind in kinds]

    def work(tally: Tally) -> None:
        start = time.monotonic()
        told = start
        for facts in outcomes(tally.kind, first, first + count):
            tally.add(facts)
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                print(f"{tally.kind}: {tally.inputs} of {count} inputs, {told - start:.0f} s", flush=True)
        if guided:
            from fuzz.guided import run_guided

            run_guided(tally, guided)
        tally.seconds = time.monotonic() - start
        print(f"{tally.kind}: done\n{table([tally])}", flush=True)

    with ThreadPoolExecutor(jobs) as threads:
        list(threads.map(work, tallies))
    return tallies


def outcomes(kind: str, first: int, last: int) -> Iterator[dict]:
    """Yield the outcome of every input; one that kills or blocks its process is a finding."""
    while first < last:
        worker = start([sys.executable, "-m", "fuzz.worker", kind, str(first), str(last)])
        begun, blocked = first, ""
        try:
            for facts in listen(worker):
                begun = facts.get("begin", facts.get("made", begun))
                if reason := facts.get("blocked", facts.get("broken")):
                    blocked = reason
                elif "seed" in facts:
                    yield facts
                    begun = facts["seed"] + 1
        finally:
            worker.kill()
            worker.wait()
        if begun < last:
            text = blocked or f"the process died ({worker.returncode})"
            yield {
                "seed": begun,
                "result": "finding",
                "note": "",
                "text": text,
                "pictures": 0,
                "compared": 0,
                "disagreements": [],
                "bytes": 0,
            }
        first = begun + 1


def start(command: Sequence[str]) -> subprocess.Popen:
    """Start a worker."""
    more = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MALLOC_ARENA_MAX": "1",
        "PYTHONHASHSEED": "0",
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | more, cwd=ROOT)


def listen(worker: subprocess.Popen, most_s: float = MOST_S) -> Iterator[dict]:
    """Yield what a worker says; end, with a reason, if it takes too long for one input."""
    assert worker.stdout
    pipe, rest = worker.stdout.fileno(), b""
    selector = selectors.DefaultSelector()
    selector.register(pipe, selectors.EVENT_READ)
    used, waited, made = 0.0, 0, False
    while True:
        if selector.select(1.0):
            data = os.read(pipe, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                facts = json.loads(line)
                made = "made" in facts
                yield facts
            used, waited = cpu_s(worker.pid)[0], 0
            continue
        now, state = cpu_s(worker.pid)
        worked, waited = now - used, waited + 1 if state in "SD" else 0
        if (made and worked > 1.2 * most_s) or waited > (_WAIT_S if made else _START_S):
            yield {"blocked": f"stopped after {worked:.0f} s of work and {waited:.0f} s of waiting"}
            return


def cpu_s(process: int) -> tuple[float, str]:
    """Return the processor time of a process [s], and its state: 'S' and 'D' wait for something."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, "Z"
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), words[0]


def table(tallies: Sequence[Tally]) -> str:
    """Return the counts as a table of Markdown."""
    names = (
        "kind",
        "inputs",
        "guided",
        "read",
        "refused",
        "pictures",
        "compared",
        "disagreements",
        "findings",
        "seconds",
        "peak MB",
    )
    rows = [
        (
            t.kind,
            t.inputs,
            t.guided,
            t.read,
            t.refused,
            t.pictures,
            t.compared,
            len(t.disagreements),
            len(t.findings),
            f"{t.seconds:.0f}",
            t.bytes // 10**6,
        )
        for t in tallies
    ]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (names, ("---",) * len(names), *rows))
