"""Reads one input as progan does, and says what came of it."""

import contextlib
import itertools
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from fuzz import cases, oracle, watch
from fuzz.cases import Case
from fuzz.watch import Watch
from progan.data.options import PrepareOptions
from progan.data.pixels import Plan, decode, peek, to_pixels
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import DataError, ProganError

_MOST_PICTURES = 64  # of one input
_MOST_LINES, _MOST_CHARACTERS = 6, 3000  # of one message
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Outcome:
    """What came of one input."""

    note: str
    result: str = "read"
    """'read', 'refused', or 'finding'."""
    text: str = ""
    """The message, or what is wrong."""
    pictures: int = 0
    refused_pictures: int = 0
    compared: int = 0
    disagreements: list[str] = field(default_factory=list)
    seconds: float = 0.0
    bytes: int = 0

    def facts(self) -> dict:
        """Return all fields."""
        return asdict(self)

    def fail(self, text: str) -> None:
        """Note a finding; the first counts."""
        if self.result != "finding":
            self.result, self.text = "finding", text


class Checker:
    """Runs inputs in a folder of its own."""

    def __init__(self, root: Path, noise: Callable[[], int]) -> None:
        self.place, self.target, self.noise = root / "outer" / "in", root / "outer" / "out", noise
        for folder in (self.place, self.target, root / "outer" / "work"):
            folder.mkdir(parents=True)
        (root / "outer" / "sentinel.png").write_bytes(b"sentinel")
        (root / "sentinel").write_bytes(b"sentinel")
        contextlib.chdir(root / "outer" / "work").__enter__()
        self.watch, self.base = Watch(root), watch.held_bytes()

    def run(self, case: Case, seed: int, begin: Callable[[], object] = lambda: None) -> Outcome:
        """Write an input, read it, and remove it; ``begin`` is called before it is read."""
        path, outcome = cases.write(case, self.place), Outcome(note=case.note)
        labels = f"{self.place}/{case.labels[1:]}" if case.labels.startswith("@") else case.labels
        self.watch.found.clear()
        self.watch.allowed = str(self.target) if case.how == "prepare" else ""
        if watch.peak_bytes() > self.base + watch.MOST_BYTES // 8:  # for making the input
            watch.reset_peak()
        before, own, start = self.watch.tree(self.target), watch.held_bytes() - self.base, time.process_time()
        begin()
        self.watch.armed = True
        try:
            pictures = self._read(case, path, labels, outcome, Random(seed))
        except ProganError as error:
            outcome.result, outcome.text, pictures = "refused", str(error), []
            if fault := bad_message(str(error)):
                outcome.fail(fault)
            if case.sound:
                outcome.fail(f"a sound input is refused: {error}")
        except BaseException as error:  # all that is looked for
            outcome.fail("".join(traceback.format_exception(error)[-6:])[-1500:])
            pictures = []
        finally:
            self.watch.armed = False
        outcome.seconds, outcome.bytes = time.process_time() - start, watch.peak_bytes() - max(own, 0)
        if outcome.result == "read" and case.how == "read" and not outcome.pictures:
            outcome.result = "refused"
        self._judge(outcome, before)
        for name, data, image in pictures:
            if isinstance(data, np.ndarray):
                verdict = oracle.compare_rows(case.files, name, np.asarray(image))
            else:
                verdict = oracle.compare(data, image, self.noise)
            outcome.compared += verdict.checked
            outcome.disagreements += [verdict.wrong] if verdict.wrong else []
        cases.clear(self.place)
        cases.clear(self.target)
        return outcome

    def _judge(self, outcome: Outcome, before: list) -> None:
        if self.watch.found:
            outcome.fail("; ".join(self.watch.found[:3]))
        if self.watch.tree(self.target) != before:
            outcome.fail("files outside of the target were changed")
        if outcome.bytes > watch.MOST_BYTES:
            outcome.fail(f"{outcome.bytes >> 20} MiB of memory")
        if outcome.seconds > watch.MOST_S:
            outcome.fail(f"{outcome.seconds:.1f} s")

    def _read(self, case: Case, path: Path, labels: str, outcome: Outcome, rng: Random) -> list:
        if case.how == "store":
            use_store(path)
            return []
        if case.how == "prepare":
            options = PrepareOptions(resolution="8", upscale=True, labels=labels, on_error="skip", **case.choice)
            prepare(path, self.target / "store", options, workers=0)
            use_store(self.target / "store")
            return []
        return list(read(path, case, labels, outcome, rng))


def read(path: Path, case: Case, labels: str, outcome: Outcome, rng: Random) -> Iterator[tuple]:
    """Decode the pictures of a source; yield their names, what they were made of, and the result."""
    source = open_source(path, Choice(**case.choice), labels=labels, skip=True)
    check_source(source)
    plan = _plan(rng)
    for record in source.records(range(min(len(source), _MOST_PICTURES))):
        assert record.label is None or 0 <= record.label < len(source.classes) or record.label == -1
        try:
            kind = peek(record.data)
            image = decode(record.data)
            pixels = to_pixels(image, plan)
        except DataError as error:
            outcome.refused_pictures += 1
            if case.sound:
                outcome.fail(f"a sound picture is refused: {error}")
            if fault := bad_message(str(error)):
                outcome.fail(fault)
            continue
        outcome.pictures += 1
        assert image.mode in ("L", "LA", "RGB", "RGBA"), image.mode
        assert (pixels.shape, pixels.dtype) == ((plan.height, plan.width, plan.channels), np.uint8)
        assert kind[1][0] > 0
        if not isinstance(record.data, DataError):
            yield record.name, record.data.read_bytes() if isinstance(record.data, Path) else record.data, image


def _plan(rng: Random) -> Plan:
    """Return a way to crop and resize."""
    height, width = rng.choice(((8, 8), (8, 8), (1, 16), (16, 3)))
    how = {"fit": rng.choice(("pad", "crop", "stretch")), "filter": rng.choice(("box", "lanczos"))}
    return Plan(height=height, width=width, channels=rng.choice((1, 3, 4)), box=None, center=False, upscale=True, **how)


def check_source(source) -> None:
    """Names, labels and columns belong together."""
    count = len(source)
    names = list(itertools.islice(source.names, 200))
    assert all(isinstance(name, str) and name for name in names)
    assert source.labels is None or len(source.labels) == count
    assert all(len(column.values) == count for column in source.columns)
    assert len(set(source.classes)) == len(source.classes)


def use_store(path: Path) -> None:
    """Read everything in a store."""
    store = Store.open(path)
    assert len(list(itertools.islice(store.names, 10000))) == min(store.count, 10000)
    for name in store.columns:
        np.array(store.column(name).values)
    for side in store.resolutions:
        store.level(side).max()
    labels = store.labels()
    assert labels is None or labels.max() < len(store.classes)


def bad_message(text: str) -> str:
    """Say what is wrong with a message to users, if anything."""
    if not text.strip():
        return "an empty message"
    if text.count("\n") >= _MOST_LINES or len(text) > _MOST_CHARACTERS:
        return f"a message of {text.count(chr(10)) + 1} lines and {len(text)} characters: {text[:300]!r}"
    if control := _CONTROL.search(text):
        return f"a message with the control character {control.group()!r}: {text[:300]!r}"
    return ""
