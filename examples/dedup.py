"""How well near duplicates are found: copies of 500 images are planted in a store, and looked for.

``python examples/dedup.py STORE [--sheet FILE.png]`` prints a table of recall and precision for the semantic hash
(DCGAN section 4.1.1) and for imagehash's difference and perceptual hashes of 64 bits (``pip install 'progan[dedup]'``).
All group their codes in the same way. The store's images should have 64 pixels or more.

Each of the 500 is planted three times: as JPEG of quality 60; with 2 % of its sides cut off somewhere and brought to
the old size; brighter by 5 %.
"""

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from progan import draws
from progan.curation.dedup import groups_of, groups_sheet, kept_by, semantic_codes
from progan.data.levels import box_levels
from progan.data.store import Store
from progan.images import save_png

KINDS = ("jpeg 60", "crop 2 %", "bright +5 %")


def changed(image: np.ndarray, place: np.ndarray) -> list[np.ndarray]:
    """Three copies of an image [H, W, 3], one of each kind; ``place`` in [0, 1)^2 is where the cut lies."""
    picture, file = Image.fromarray(image), io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    width, height = picture.size
    left, top = place * 0.02 * (width, height)
    box = (left, top, left + 0.98 * width, top + 0.98 * height)
    cut = picture.resize(picture.size, Image.Resampling.LANCZOS, box=box)
    bright = np.clip(np.rint(image * 1.05), 0, 255).astype(np.uint8)
    return [np.asarray(Image.open(file)), np.asarray(cut), bright]


def planted(images: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images with three copies of ``count`` of them at the end, and of which image each one is."""
    chosen = np.sort(draws.permutation(seed, "planted", 0, len(images))[:count])
    places = draws.uniform(seed, "cut", 0, count, 2)
    copies = [copy for i, place in zip(chosen, places, strict=True) for copy in changed(images[i], place)]
    return np.concatenate([images, copies]), np.concatenate([np.arange(len(images)), chosen.repeat(len(KINDS))])


def perceptual(name: str, images: np.ndarray) -> np.ndarray:
    """Codes of 64 bits by imagehash, uint8 [N, 8]."""
    import imagehash

    function = getattr(imagehash, name)
    return np.stack([np.packbits(function(Image.fromarray(image)).hash.ravel()) for image in images])


def row(name: str, distance: int, kept: np.ndarray, original: np.ndarray, count: int) -> str:
    """One line of the table.

    Recall: copies that go for an image that their original goes for too. Precision: images that go for an original,
    or a copy, of theirs, among all that go.
    """
    found = kept == kept[original]
    copies = np.arange(len(kept)) >= count
    recalls = [found[count + i :: len(KINDS)].mean() for i in range(len(KINDS))]
    gone = kept != np.arange(len(kept))
    right = (original[kept] == original) & gone
    precision = right.sum() / max(gone.sum(), 1)
    cells = [f"{x:>11.1%}" for x in (*recalls, found[copies].mean(), precision)]
    return f"{name:<10}{distance:>6}{''.join(cells)}{gone.sum() - right.sum():>9}"


def main() -> int:
    """Plant, hash, and print the table."""
    parser = argparse.ArgumentParser(description="Recall and precision of near duplicates that were planted.")
    parser.add_argument("store")
    parser.add_argument("--count", type=int, default=500, help="images that are copied")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="PNG file for a picture of pairs that were found but not planted")
    args = parser.parse_args()
    store = Store.open(args.store)
    images, original = planted(np.array(store.level(max(store.resolutions))), args.count, args.seed)
    levels = box_levels(images)
    small = next(level for level in levels if min(level.shape[1:3]) == 32)
    hashes = {
        "semantic": (lambda: semantic_codes(small, seed=args.seed, progress=True), (0, 2, 4, 6, 8, 9, 10, 11, 12, 13)),
        "dhash": (lambda: perceptual("dhash", images), (0, 2, 4, 6, 8)),
        "phash": (lambda: perceptual("phash", images), (0, 2, 4, 6, 8)),
    }
    print(f"{'hash':<10}{'bits':>6}{''.join(f'{kind:>11}' for kind in (*KINDS, 'recall', 'precision'))}{'wrong':>9}")
    for name, (function, distances) in hashes.items():
        start = time.perf_counter()
        codes = function()
        seconds = time.perf_counter() - start
        for distance in distances:
            print(row(name, distance, kept_by(codes, distance), original, store.count), flush=True)
        print(f"{name:<10}{seconds:>6.1f} s for {len(images)} hashes")
        if args.sheet and name == "semantic":
            save_png(groups_sheet(store, groups_of(kept_by(codes[: store.count]))), args.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
