"""A ProGAN on scikit-learn's handwritten digits in a few minutes on a laptop: ``make demo``.

The 1797 digits (8x8, 16 grey levels) come with scikit-learn; nothing is downloaded. They are brought to 16x16, the
``demo`` preset is trained on them, and a five-neighbour classifier judges what it made.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from progan import Snapshot
from progan.cli import main as progan

SIDE = 16
NEIGHBOURS = 5


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits as uint8 [1797, 16, 16], and which they are."""
    some: Any = load_digits()  # its type tells of data frames, too
    flat, labels = some.data, some.target
    small = np.rint(flat.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    large = [np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for x in small]
    return np.stack(large), labels


def write(folder: Path) -> None:
    """The digits as PNG files, one sub-folder for each class, as anybody's own images would be."""
    for i, (image, label) in enumerate(zip(*digits(), strict=True)):
        path = folder / str(label) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def verdict(images: np.ndarray) -> tuple[float, float, np.ndarray]:
    """How readable made digits are.

    Args:
        images: uint8 [N, 16, 16].

    Returns:
        share of them whose five nearest real digits all are of one class; the same share for real digits, each
        without itself; how often each class was made, counting those that are clear.
    """
    real, labels = digits()
    flat = real.reshape(len(real), -1).astype(np.float64)
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(flat)

    def agreed(x: np.ndarray, skip: int) -> tuple[np.ndarray, np.ndarray]:
        near = labels[search.kneighbors(x)[1]][:, skip : skip + NEIGHBOURS]
        return near[:, 0], (near == near[:, :1]).all(1)

    classes, clear = agreed(images.reshape(len(images), -1).astype(np.float64), 0)
    _, real_clear = agreed(flat, 1)
    return float(clear.mean()), float(real_clear.mean()), np.bincount(classes[clear], minlength=10)


def main() -> int:
    """Train, make digits, judge them, and say where the pictures are."""
    parser = argparse.ArgumentParser(description="A ProGAN on scikit-learn's handwritten digits.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for data, run and pictures")
    parser.add_argument("--fresh", action="store_true", help="start anew instead of going on with what is there")
    parser.add_argument("--count", type=int, default=1000, help="digits that are made and judged")
    args, options = parser.parse_known_args()
    if args.fresh and args.out.exists():
        shutil.rmtree(args.out)
    write(args.out / "digits")
    code = progan(["train", "demo", str(args.out / "digits"), "--out", str(args.out), "--name", "run", *options])
    if code:
        return code
    run = args.out / "run"
    progan(["generate", str(run), str(args.out / "samples.png"), "--seeds", "0-63"])
    made = Snapshot.load(run).generate(seeds=range(args.count)).numpy()[:, 0]
    share, real_share, counts = verdict(made)
    print(f"\n{args.count} made digits whose five nearest real digits are all of one class: {share:.3f}")
    print(f"the same for the real digits, each without itself: {real_share:.3f}")
    print("clear digits made: " + "  ".join(f"{digit}: {count}" for digit, count in enumerate(counts)))
    print(f"look at  {args.out}/samples.png   64 digits")
    print(f"         {args.out}/run/growth.png   the same latents at 4x4, 8x8 and 16x16")
    return 0


if __name__ == "__main__":
    sys.exit(main())
