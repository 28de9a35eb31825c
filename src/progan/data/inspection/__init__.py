"""Inspection of a data source: sizes, channels, broken files, duplicates, classes, and a suggestion for 'prepare'."""

import hashlib
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from tqdm import tqdm

from progan.data.decoding import AS_THEY_ARE, Ranges, decode
from progan.data.inspection.doubts import Facts
from progan.data.inspection.values import Values
from progan.data.levels import level_sizes
from progan.data.options import PrepareOptions, make_plan
from progan.data.pixels import Plan
from progan.data.records import Record, Source
from progan.errors import DataError
from progan.processes import usable_cpus

NEAR_BITS = 3
"""Largest number of 64 bits in which the hashes of near duplicates differ; at least one of 4 bands is then equal."""
NEAR_LEVELS = 4.0
"""Largest mean difference of the 8x9 grayscale thumbnails of near duplicates, apart from brightness [levels of 255]."""
_NEIGHBOURS = 32  # images with an equal band that each one is compared with; more would not be linear time
_PART = 64  # images examined at a time


@dataclass
class Findings:
    """Facts about some consecutive images; ``add`` joins those of two parts of a source."""

    names: list[str] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Height and width of each image [pixels]."""
    modes: list[str] = field(default_factory=list)
    """Mode of each image: L, LA, RGB or RGBA."""
    digests: list[bytes] = field(default_factory=list)
    """SHA-256 of the mode, size and decoded pixels of each image."""
    thumbs: list[np.ndarray] = field(default_factory=list)
    """Grayscale thumbnails of the whole images, uint8 [8, 9] box means."""
    values: Values = field(default_factory=Values)
    """Brightness of all pixels."""
    broken: list[str] = field(default_factory=list)
    """Name and reason for each image that cannot be read."""

    def add(self, other: "Findings") -> None:
        """Append the facts of the images that follow."""
        for key, values in vars(other).items():
            getattr(self, key).extend(values)


def examine(records: Sequence[Record], ranges: Ranges = AS_THEY_ARE) -> Findings:
    """Decode some images completely and return the facts about them; worker threads run this."""
    found = Findings()
    for record in records:
        try:
            image = decode(record.data, ranges)
        except DataError as error:
            found.broken.append(f"{record.name}: {error}")
            continue
        head = f"{image.mode} {image.width}x{image.height}".encode()
        found.names.append(record.name)
        found.labels.append(record.label)
        found.sizes.append((image.height, image.width))
        found.modes.append(image.mode)
        found.digests.append(hashlib.sha256(head + image.tobytes()).digest())
        found.values.add(image)
        grey = image.convert("L")
        found.thumbs.append(np.asarray(grey.resize((9, 8), Image.Resampling.BOX)))
    return found


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """Return 64 bits for each image: whether each pixel is brighter than the one to its left.

    Shape: uint8 [N, 8, 9] -> uint64 [N].
    """
    bits = thumbs[:, :, 1:] > thumbs[:, :, :-1]
    return np.packbits(bits.reshape(len(thumbs), 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_groups(thumbs: np.ndarray) -> np.ndarray:
    """Return, for every image, the number of the first image in its group of near duplicates, int64 [N].

    An image without duplicates has its own number. Groups are transitive. The time is linear: images are sorted by
    each of the four 16-bit bands of their hashes in turn, and compared with the next few that have an equal band.
    """
    hashes, flat = difference_hash(thumbs), thumbs.reshape(len(thumbs), -1)
    parent = np.arange(len(thumbs))
    for shift in (0, 16, 32, 48):
        turned = (hashes << np.uint64(shift)) | (hashes >> np.uint64(64 - shift)) if shift else hashes
        order = np.argsort(turned, kind="stable")
        bands = turned[order] >> np.uint64(48)
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            i = np.flatnonzero(bands[step:] == bands[:-step])
            if not len(i):
                break
            a, b = order[i], order[i + step]
            close = _bit_count(hashes[a] ^ hashes[b]) <= NEAR_BITS
            a, b = a[close], b[close]
            alike = _difference(flat[a], flat[b]) <= NEAR_LEVELS
            _join(parent, a[alike], b[alike])
    return parent


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of thumbnails [N, 72] after subtracting the mean difference: [N]."""
    difference = a.astype(np.float32) - b
    return np.abs(difference - difference.mean(1, keepdims=True)).mean(1)


def _bit_count(x: np.ndarray) -> np.ndarray:
    """Number of ones in each uint64: sums of 2, 4 and 8 bits side by side, then of the bytes."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _join(parent: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Put a and b into one group, in place; every image points to the first one of its group."""
    while len(a := a[(apart := parent[a] != parent[b])]):
        b = b[apart]
        low, high = np.minimum(parent[a], parent[b]), np.maximum(parent[a], parent[b])
        np.minimum.at(parent, high, low)
        while not np.array_equal(upper := parent[parent], parent):
            parent[:] = upper


def groups_of(keys: Iterable) -> list[list[int]]:
    """Return the positions of each key that occurs more than once."""
    places: dict = defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    return [group for group in places.values() if len(group) > 1]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Result of ``inspect``."""

    source: Source
    findings: Findings
    equal: list[list[int]]
    """Groups of positions, in the findings, of images with identical decoded pixels."""
    near: list[list[str]]
    """Groups of names of images that look alike; only the first of identical images is included."""
    plan: Plan | None
    """Plan that 'prepare' would follow by default; None if no image can be opened."""

    @property
    def exact(self) -> list[list[str]]:
        """Groups of names of images with identical decoded pixels."""
        return [[self.findings.names[i] for i in group] for group in self.equal]

    @property
    def store_bytes(self) -> int:
        """Size of the suggested store [bytes]."""
        if self.plan is None:
            return 0
        pixels = sum(height * width for height, width in level_sizes(self.plan.height, self.plan.width))
        return len(self.findings.names) * self.plan.channels * pixels

    @property
    def too_small(self) -> int:
        """Number of images that are smaller than the suggested size."""
        if self.plan is None or self.plan.fit == "pad":
            return 0
        return sum(min(size) < min(self.plan.height, self.plan.width) for size in self.findings.sizes)

    def facts(self) -> Facts:
        """Return what is known about the images, to look for what is wrong."""
        sizes, plan, others = self.findings.sizes, self.plan, []
        small = 0 if plan is None else sum(2 * min(size) <= min(plan.height, plan.width) for size in sizes)
        if plan is not None and small:
            others = [f"{small} of {len(sizes)} images have at most half the size of {plan.height}x{plan.width}"]
        return Facts(
            names=self.findings.names,
            labels=self.findings.labels,
            counts=self.class_counts(),
            values=self.findings.values,
            channels=0 if plan is None else plan.channels,
            equal=self.equal,
            others=others,
        )

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class; empty without labels."""
        counts = Counter(self.findings.labels)
        return {name: counts[i] for i, name in enumerate(self.source.classes)}


def inspect(
    source: Source, options: PrepareOptions, *, workers: int | None = None, progress: bool = False
) -> Inspection:
    """Decode every image of a source and collect facts about them.

    Args:
        source: images to inspect.
        options: settings on which the suggestion is based.
        workers: number of threads; by default one per usable CPU. Decoding and hashing run outside Python's lock.
        progress: whether to show a progress bar on a terminal.

    Raises:
        DataError: if the source itself is broken.
    """
    found, plan, failed = Findings(), None, None
    try:
        plan = make_plan(source, options, progress=progress)
    except DataError as error:  # said below, if any image can be read
        failed = error
    with tqdm(total=len(source), unit=" images", desc="inspect", disable=None if progress else True) as bar:
        for part in _examine_all(source, plan, max(1, usable_cpus() if workers is None else workers)):
            found.add(part)
            bar.update(len(part.names) + len(part.broken))
    if failed and found.names:
        raise failed
    exact = groups_of(found.digests)
    again = {i for group in exact for i in group[1:]}
    first = [i for i in range(len(found.names)) if i not in again]
    near = groups_of(near_groups(np.stack([found.thumbs[i] for i in first])).tolist()) if first else []
    return Inspection(
        source=source,
        findings=found,
        equal=exact,
        near=[[found.names[first[i]] for i in group] for group in near],
        plan=plan if found.names else None,
    )


def _examine_all(source: Source, plan: Plan | None, workers: int) -> Iterator[Findings]:
    """Findings of parts of the source, in order, with a bounded number of parts in memory."""
    records, pending = iter(source), deque[Future[Findings]]()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while part := list(itertools.islice(records, _PART)):
                pending.append(pool.submit(examine, part, plan.ranges if plan else AS_THEY_ARE))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
