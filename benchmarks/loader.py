"""Time of the loader per image, one JSON line per case.

python benchmarks/loader.py [--resolution 64] [--images 10000] [--device cpu]
"""

import argparse
import json
import platform
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.benchmark import Timer

from progan.data.loader import Loader
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store


def make_store(folder: Path, resolution: int, images: int) -> Store:
    """A store of ``images`` colored images; only 64 of them differ, which does not matter for the time."""
    source = folder / "source"
    source.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, resolution, resolution, 3), np.uint8)
    for i in range(64):
        Image.fromarray(pixels[i]).save(source / f"{i:05d}.bmp")
    for i in range(64, images):
        (source / f"{i:05d}.bmp").symlink_to(f"{i % 64:05d}.bmp")
    return prepare(source, folder / "store", PrepareOptions(resolution=str(resolution)))


def measure(store: Store, *, batch: int, mirror: bool, held: bool, part: int, device: str) -> dict:
    """Median time of a batch, divided by its images; of each a square of ``part`` pixels is cut out unless it is 0."""
    how = {"load_size": store.height, "size": (part, part)} if part else {}
    loader = Loader(store, seed=0, mirror=mirror, device=device, budget_bytes=None if held else 0, **how)
    clock = count()
    call = "loader.images(next(clock) * batch, batch, store.height)"
    names = {"loader": loader, "clock": clock, "batch": batch, "store": store}
    result = Timer(call, globals=names, num_threads=1).blocked_autorange(min_run_time=1)
    shape = [batch, store.channels, store.height, store.width]
    case = {"case": "loader", "shape": shape, "part": part, "mirror": mirror, "held": held}
    case |= {"ms_per_image": 1e3 * result.median / batch, "iqr_ms_per_image": 1e3 * result.iqr / batch}
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return case | {"machine": f"{platform.system()} {name}", "threads": 1, "torch": torch.__version__}


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), args.resolution, args.images)
        most = args.resolution * 7 // 8
        cases = [(16, True, True, 0), (64, True, True, 0), (64, False, True, 0), (64, True, False, 0)]
        for batch, mirror, held, part in [*cases, (64, True, True, most), (64, True, False, most)]:
            case = measure(store, batch=batch, mirror=mirror, held=held, part=part, device=args.device)
            print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
