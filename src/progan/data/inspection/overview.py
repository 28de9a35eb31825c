"""A look into a store: the brightness of its pixels, duplicates, and facts for ``doubts``."""

import hashlib
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from progan.data.inspection import groups_of, near_groups
from progan.data.inspection.doubts import Facts
from progan.data.inspection.values import Values
from progan.data.store import Store

_SIDE = 32  # largest level that is looked at, if there is one [pixels]
_BYTES = 16 << 20  # of a store at a time
_SAMPLE, _SAMPLE_BYTES = 2000, 64 << 20  # most images whose brightness is counted, and most bytes of them


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Images of a store that are the same or look alike."""

    equal: list[list[int]]
    """Groups of positions of identical images."""
    near: list[list[int]]
    """Groups of positions of images that look alike; only the first of identical images is included."""


def store_duplicates(store: Store, *, progress: bool = False) -> Duplicates:
    """Find identical and similar images in a store.

    Images are compared at the largest level of at most 32 pixels, or else at the smallest level.

    Args:
        store: images to compare.
        progress: whether to show a progress bar on a terminal.
    """
    level = store.level(_at_most(store, _SIDE))
    digests, thumbs, part = [], [], max(1, _BYTES // level[0].nbytes)
    with tqdm(total=len(level), unit=" images", desc="compare", disable=None if progress else True) as bar:
        for i in range(0, len(level), part):
            rows = np.ascontiguousarray(level[i : i + part])
            digests += [hashlib.sha256(row).digest() for row in rows]
            thumbs.append(_shrink(rows[..., :3].mean(-1)))
            bar.update(len(rows))
    equal = groups_of(digests)
    again = {i for group in equal for i in group[1:]}
    first = [i for i in range(len(digests)) if i not in again]
    near = groups_of(near_groups(np.concatenate(thumbs)[first]).tolist())
    return Duplicates(equal=equal, near=[[first[i] for i in group] for group in near])


def store_values(store: Store) -> tuple[Values, str]:
    """Count the brightness of a sample of a store, at a small level; return it, and what was looked at."""
    level = store.level(_at_most(store, _SIDE))
    most = max(1, min(_SAMPLE, _SAMPLE_BYTES // level[0].nbytes))
    rows = np.unique(np.linspace(0, len(level) - 1, most).round().astype(int))
    values, part = Values(), max(1, _BYTES // level[0].nbytes)
    for i in range(0, len(rows), part):
        values.add_pixels(level[rows[i : i + part]])
    height, width = level.shape[1:3]
    many = f"{len(rows):,} of {len(level):,} images" if len(rows) < len(level) else "all images"
    return values, f"{many} at {height}x{width}"


def store_facts(store: Store, values: Values, duplicates: Duplicates) -> Facts:
    """Return what is known about the images of a store, to look for what is wrong."""
    labels = store.labels()
    counts = np.bincount([] if labels is None else labels, minlength=len(store.classes)).tolist()
    return Facts(
        names=store.names,
        labels=None if labels is None else labels.tolist(),
        counts=dict(zip(store.classes, counts, strict=True)),
        values=values,
        channels=store.channels,
        equal=duplicates.equal,
        others=_enlarged(store),
    )


def _enlarged(store: Store) -> list[str]:
    """A sentence about images that are much smaller than the store's."""
    small = store.manifest.get("sizes", {}).get("smallest")
    if not small or 2 * min(small) > min(store.height, store.width):
        return []
    how = "enlarged to" if store.manifest.get("options", {}).get("upscale") else "in the middle of"
    return [f"the smallest original has {small[0]}x{small[1]} pixels and is {how} {store.height}x{store.width}"]


def _at_most(store: Store, side: int) -> int:
    """Shorter side of the largest level that is at most ``side``, or else of the smallest [pixels]."""
    return max((found for found in store.resolutions if found <= side), default=min(store.resolutions))


def _shrink(grey: np.ndarray) -> np.ndarray:
    """Box means [N, 8, 9] of images [N, H, W], as uint8."""
    rows, columns = (_box_weights(size, n) for size, n in zip(grey.shape[1:], (8, 9), strict=True))
    return (rows @ grey @ columns.T).round().astype(np.uint8)


def _box_weights(size: int, n: int) -> np.ndarray:
    """Weight of each of ``size`` pixels in each of ``n`` equal parts of a line, [n, size]."""
    edges = np.arange(n + 1)[:, None] * (size / n)
    covered = np.clip(edges - np.arange(size), 0, 1)  # of each pixel, left of each edge
    return np.diff(covered, axis=0) * (n / size)
