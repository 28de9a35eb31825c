"""Time and peak memory of SWD and MS-SSIM beside the plain numpy algorithm (tests/references) on equal images.

python benchmarks/metrics.py [--images 2048] [--resolution 128] [--threads 2] [--repeats 3] [--metrics swd ms_ssim]

Every measurement is a process of its own; ours and theirs take turns. One JSON line per case, then a table. Where
CUDA is at hand, progan also runs there on 16,384 images of 128x128 and 1024x1024.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from machine import machine

# Packages are imported where they are used: each process loads its own only, and this one stays small.
if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH = 64
SETS = ("fake", "real")
CUDA_IMAGES, CUDA_RESOLUTIONS = 16_384, (128, 1024)


def photos(count: int, resolution: int, seed: int, slope: float, device: str = "cpu") -> "torch.Tensor":
    """Noise whose amplitudes fall with the frequency as in photos, uint8 [N, 3, R, R]."""
    import torch

    generator = torch.Generator(device).manual_seed(seed)
    rows, columns = (f(resolution, device=device) for f in (torch.fft.fftfreq, torch.fft.rfftfreq))
    frequency = torch.hypot(rows[:, None], columns).clamp(min=1 / resolution)
    noise = torch.randn(count, 3, resolution, resolution, generator=generator, device=device)
    noise = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency**slope, s=(resolution, resolution))
    noise = noise + 0.7 * noise.mean(1, keepdim=True)  # colors go together
    return (128 + 45 * noise / noise.std()).round().clamp(0, 255).to(torch.uint8)


def write_images(folder: Path, images: int, resolution: int, data: Path | None) -> list[int]:
    """Files fake and real in ``folder``, uint8 [N, C, H, W]; returns [C, H, W]."""
    if data:
        from progan.data.store import Store

        level = Store.open(data).level(resolution).transpose(0, 3, 1, 2)
        if len(level) < 2 * images:
            sys.exit(f"error: {data} has {len(level)} images; two sets of {images} were asked for")
        for i, name in enumerate(SETS):
            level[i * images : (i + 1) * images].tofile(folder / name)
        return list(level.shape[1:])
    for i, name in enumerate(SETS):
        with (folder / name).open("wb") as file:
            for first in range(0, images, BATCH):
                count = min(BATCH, images - first)
                photos(count, resolution, 2 * first + i, (1.2, 1.0)[i]).numpy().tofile(file)
    return [3, resolution, resolution]


def read_images(file: Path, shape: list[int]) -> Iterator["np.ndarray"]:
    """Batches of a set, each read when it is wanted."""
    import numpy as np

    with file.open("rb") as images:
        while len(batch := np.fromfile(images, np.uint8, BATCH * shape[0] * shape[1] * shape[2])):
            yield batch.reshape(-1, *shape)


def our_swd(folder: Path, shape: list[int]) -> float:
    """Of fake and real, as ``progan metric`` calculates it."""
    import torch

    from progan.metrics.base import Setup
    from progan.metrics.swd import SlicedPatches, swd

    fake, real = (SlicedPatches(Setup(height=shape[1], width=shape[2], channels=shape[0], stream=s)) for s in SETS)
    for patches in (fake, real):
        for batch in read_images(folder / patches.setup.stream, shape):
            patches.update(torch.from_numpy(batch))
    return swd(fake, real)["swd"]


def plain_swd(folder: Path, shape: list[int]) -> float:
    """Descriptors of both sets gathered in lists, then normalized, projected and sorted."""
    import numpy as np

    from references import swd as plain  # type: ignore[import-not-found]

    rng, sets = np.random.default_rng(0), []
    for name in SETS:
        levels: dict[int, list[np.ndarray]] = {}
        for batch in read_images(folder / name, shape):
            for i, level in enumerate(plain.pyramid(batch.astype(np.float32))):
                y, x = (rng.integers(0, side - 6, (len(level), 128)) for side in level.shape[2:])
                levels.setdefault(i, []).append(plain.descriptors(level, y, x))
        sets.append([plain.normalize(np.concatenate(levels.pop(i))) for i in sorted(levels)])
    values = []
    for a, b in zip(*sets, strict=True):
        directions = rng.standard_normal((4, 128, a.shape[1])).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=2, keepdims=True)
        values.append(plain.distance(a, b, directions))
    return 1e3 * float(np.mean(values))


def our_ms_ssim(folder: Path, shape: list[int]) -> float:
    """MS-SSIM of the pairs in fake."""
    import torch

    from progan.metrics.base import Setup
    from progan.metrics.ms_ssim import PairSimilarity, mean_similarity

    pairs = PairSimilarity(Setup(height=shape[1], width=shape[2], channels=shape[0], stream="fake"))
    for batch in read_images(folder / "fake", shape):
        pairs.update(torch.from_numpy(batch))
    return mean_similarity(pairs)["ms_ssim"]


def plain_ms_ssim(folder: Path, shape: list[int]) -> float:
    """MS-SSIM of the pairs in fake, by FFT."""
    import numpy as np

    from references import ms_ssim as plain  # type: ignore[import-not-found]

    values = []
    for batch in read_images(folder / "fake", shape):
        images = batch.transpose(0, 2, 3, 1)
        values.append(plain.ms_ssim(images[0::2], images[1::2]))
    return float(np.concatenate(values).mean())


CASES: dict[str, dict[str, Callable[[Path, list[int]], float]]] = {
    "swd": {"ours": our_swd, "theirs": plain_swd},
    "ms_ssim": {"ours": our_ms_ssim, "theirs": plain_ms_ssim},
}


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had before exec
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def measure(metric: str, side: str, folder: Path, shape: list[int]) -> dict:
    """In a process of its own: value, times, and memory beyond what the packages and a first small batch take."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    run = CASES[metric][side]
    with tempfile.TemporaryDirectory() as few:
        for name in SETS:
            (Path(few) / name).write_bytes(next(read_images(folder / name, shape))[:2].tobytes())
        run(Path(few), shape)
    base, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
    value = run(folder, shape)
    return {
        "value": value,
        "s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": peak_mib() - base,
    }


def measure_cuda(metric: str, resolution: int) -> dict:
    """Progan on CUDA, in a process of its own; 256 images take turns, which does not matter for the time."""
    import torch

    from progan.metrics import METRICS
    from progan.metrics.base import Setup

    if not torch.cuda.is_available():
        return {"skipped": f"{metric} at {resolution}x{resolution} on CUDA: no such device"}
    entry, names = METRICS[metric], SETS if METRICS[metric].compares else SETS[:1]
    pools = [photos(256, resolution, seed, 1 + 0.2 * seed, "cuda") for seed in range(len(names))]

    def run(images: int) -> float:
        setups = [Setup(height=resolution, width=resolution, channels=3, stream=name, device="cuda") for name in names]
        statistics = [entry.statistic(setup) for setup in setups]
        for statistic, pool in zip(statistics, pools, strict=True):
            for _ in range(0, images, len(pool)):
                statistic.update(pool)
        return entry.compute(*statistics)[entry.key]

    run(512)
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    value = run(CUDA_IMAGES)
    torch.cuda.synchronize()
    peak = {"s": time.perf_counter() - start, "cuda_peak_mib": torch.cuda.max_memory_allocated() >> 20}
    case = {"metric": metric, "images": CUDA_IMAGES, "resolution": resolution, "value": value}
    return case | peak | {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}


def child(threads: int, *call: object) -> dict:
    """What ``call``, a name in this file and its arguments, gives in a new process with so many threads."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [sys.executable, __file__, "--child", json.dumps(call, default=str)]
    done = subprocess.run(command, env=os.environ | counts, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def answer(name: str, *args: str) -> None:
    """The other end of ``child``."""
    if name == "write_images":
        folder, images, resolution, data = args
        result = {"shape": write_images(Path(folder), int(images), int(resolution), Path(data) if data else None)}
    elif name == "measure":
        metric, side, folder, shape = args
        result = measure(metric, side, Path(folder), list(map(int, shape)))
    elif name == "measure_cuda":
        result = measure_cuda(args[0], int(args[1]))
    else:
        result = machine("numpy", "scipy")
    print(json.dumps(result))


def compare(metric: str, folder: Path, shape: list[int], *, repeats: int, threads: int) -> dict:
    """Medians of both, and of the ratio between neighbours in time."""
    runs = [
        {side: child(threads, "measure", metric, side, folder, shape) for side in CASES[metric]} for _ in range(repeats)
    ]
    result: dict = {"metric": metric, "repeats": repeats}
    for side in CASES[metric]:
        result |= {f"{side}_{key}": median(run[side][key] for run in runs) for key in runs[0][side]}
    for key, ratio in (("s", "ratio"), ("cpu_s", "cpu_ratio")):
        result[ratio] = median(run["theirs"][key] / run["ours"][key] for run in runs)
    return result | {"memory": result["ours_peak_mib"] / result["theirs_peak_mib"]}


def median(values: Iterable[float]) -> float:
    return float(f"{statistics.median(values):.4g}")


def table(results: list[dict]) -> str:
    """The results as a Markdown table."""
    columns = {
        "metric": "metric",
        "images": "images",
        "ours_s": "progan [s]",
        "theirs_s": "plain numpy [s]",
        "ratio": "faster",
        "ours_cpu_s": "progan [CPU s]",
        "theirs_cpu_s": "plain numpy [CPU s]",
        "ours_peak_mib": "progan [MiB]",
        "theirs_peak_mib": "plain numpy [MiB]",
    }
    rows = [list(columns.values()), ["---"] * len(columns)]
    rows += [[f"{r[k]:.3g}" if isinstance(r[k], float) else str(r[k]) for k in columns] for r in results]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048, help="of each set")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--metrics", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--data", type=Path, help="a store to take the images from, instead of noise")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return answer(*json.loads(args.child))
    facts, results = child(args.threads, "machine"), []
    with tempfile.TemporaryDirectory() as folder:
        shape = child(args.threads, "write_images", folder, args.images, args.resolution, args.data or "")["shape"]
        for metric in args.metrics:
            result = compare(metric, Path(folder), shape, repeats=args.repeats, threads=args.threads)
            results.append({"metric": metric, "images": args.images, "shape": shape} | result)
            print(json.dumps(results[-1] | facts), flush=True)
    for metric in args.metrics:
        for resolution in CUDA_RESOLUTIONS:
            result = child(args.threads, "measure_cuda", metric, resolution)
            print(result["skipped"] if "skipped" in result else json.dumps(result | facts), flush=True)
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
