"""Images a second of 'progan prepare' beside plain Pillow, and the time to read a training image; JSON lines.

python benchmarks/prepare.py [--data PATH] [--resolution 64] [--images 2000] [--repeats 3]

git worktree add /tmp/before COMMIT
python benchmarks/prepare.py --against /tmp/before --images 10000     # this checkout beside another one, in turn
"""

import argparse
import io
import itertools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

PREPARE = "import sys; from progan.cli import main; sys.exit(main(sys.argv[1:]))"


def make_jpegs(folder: Path, count: int, side: int) -> Path:
    """Smooth colored noise as JPEG files; only 64 differ, which does not matter for the time."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(64):
        image = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)).resize((side, side))
        files.append(io.BytesIO())
        image.save(files[-1], format="JPEG", quality=90)
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:06d}.jpg").write_bytes(files[i % 64].getvalue())
    return folder


def fitted(file: Path, side: int) -> Image.Image:
    """The central square of an image, as 'progan prepare' cuts and resizes it."""
    with Image.open(file) as image:
        return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def sides(top: int) -> list[int]:
    """All levels [pixels], largest first."""
    return [top >> k for k in range((top // 4).bit_length())]


def png_levels(files: list[Path], target: Path, side: int) -> None:
    """Plain Pillow: a PNG for every image and level."""
    for level in sides(side):
        (target / str(level)).mkdir(parents=True)
    for i, file in enumerate(files):
        image = fitted(file, side)
        for level in sides(side):
            image.resize((level, level), Image.Resampling.BOX).save(target / str(level) / f"{i:06d}.png")


def png_zip(files: list[Path], target: Path, side: int) -> None:
    """As the StyleGAN family keeps data: the largest level as PNG in a zip that is not compressed again."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for i, file in enumerate(files):
            buffer = io.BytesIO()
            fitted(file, side).save(buffer, format="PNG", compress_level=0, optimize=False)
            archive.writestr(f"{i // 1000:05d}/{i:08d}.png", buffer.getvalue())


def progan(source: Path, target: Path, side: int, workers: int, checkout: Path | None = None) -> None:
    """The command, with the start of Python; of another checkout if there is one."""
    args = ["prepare", source, target, "--resolution", side, "--upscale", "--workers", workers]
    place = {"PYTHONPATH": str(checkout / "src")} if checkout else {}
    command = [sys.executable, "-c", PREPARE, *map(str, args)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | place)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time, also of processes that it starts [s]."""
    wall, cpu = time.perf_counter(), cpu_s()
    work()
    return time.perf_counter() - wall, cpu_s() - cpu


def cpu_s() -> float:
    """Processor time so far of this process and of those that have ended [s]."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def prepare_cases(source: Path, folder: Path, side: int, repeats: int) -> None:
    """The four ways in turn, each several times."""
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    cpus = len(os.sched_getaffinity(0))
    ways: dict[str, Callable[[Path], None]] = {
        "progan, 1 process": lambda target: progan(source, target, side, 0),
        f"progan, {cpus} processes": lambda target: progan(source, target, side, cpus),
        "PNG files of all levels": lambda target: png_levels(files, target, side),
        "PNG zip of one level": lambda target: png_zip(files, target, side),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            target = folder / "target"
            times[name].append(timed(lambda work=work, target=target: work(target)))
            target.unlink() if target.is_file() else shutil.rmtree(target)
    for name, results in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*results, strict=True))
        shared = name.endswith(" processes")  # the system does not tell the processor time of forked workers
        case = {"case": "prepare", "way": name, "source": source.name, "images": len(files), "resolution": side}
        case |= {"wall_s": wall, "images_per_s": len(files) / wall}
        case |= {} if shared else {"cpu_s": cpu, "images_per_cpu_s": len(files) / cpu}
        report(case, repeats)


def version_cases(source: Path, folder: Path, side: int, repeats: int, other: Path) -> None:
    """The command of this checkout and of another one, in turn, and the median ratio of neighbors in time."""
    for workers in (0, len(os.sched_getaffinity(0))):
        times: list[tuple[float, float]] = []
        for _ in range(repeats):
            pair = []
            for checkout in (other, Path(__file__).resolve().parents[1]):
                target = folder / "target"
                pair.append(timed(lambda at=checkout, to=target, n=workers: progan(source, to, side, n, at))[0])
                shutil.rmtree(target)
            times.append((pair[0], pair[1]))
        before, after = (statistics.median(column) for column in zip(*times, strict=True))
        case = {"case": "versions", "workers": workers, "source": source.name, "resolution": side}
        case |= {"before_s": before, "after_s": after, "ratio": statistics.median(b / a for a, b in times)}
        report(case, repeats)


def read_cases(source: Path, folder: Path, side: int, repeats: int) -> None:
    """A batch of 64 random images: from a store, held and mapped, and decoded from JPEG and PNG files."""
    from progan.data.loader import Loader
    from progan.data.options import PrepareOptions
    from progan.data.preparing import prepare

    store = prepare(source, folder / "store", PrepareOptions(resolution=str(side), upscale=True))
    position = itertools.count(0, 64)
    for level in sides(side):
        images, rng = store.level(level)[:512], np.random.default_rng(0)
        for suffix in ("jpg", "png"):
            (folder / f"{level}").mkdir(exist_ok=True)
            for i, pixels in enumerate(images):
                Image.fromarray(pixels).save(folder / f"{level}" / f"{i}.{suffix}", quality=90)
        held = Loader(store, seed=0, mirror=False)
        mapped = Loader(store, seed=0, mirror=False, budget_bytes=0)

        def decode(suffix: str, level: int = level, count: int = len(images), rng: np.random.Generator = rng) -> None:
            picks = rng.integers(0, count, 64)
            np.stack([np.asarray(Image.open(folder / f"{level}" / f"{i}.{suffix}")) for i in picks])

        ways: dict[str, Callable[[], object]] = {
            "loader, held": lambda held=held, level=level: held.images(next(position), 64, level),
            "loader, mapped": lambda mapped=mapped, level=level: mapped.images(next(position), 64, level),
            "JPEG files": lambda decode=decode: decode("jpg"),
            "PNG files": lambda decode=decode: decode("png"),
        }
        case: dict = {"case": "read", "source": source.name, "resolution": level}
        for name, work in ways.items():
            work()
            costs = [timed(lambda work=work: [work() for _ in range(5)] and None)[1] for _ in range(repeats)]
            case[f"{name} [us of processor time per image]"] = 1e6 * statistics.median(costs) / (5 * 64)
        report(case, repeats)


def report(case: dict, repeats: int) -> None:
    """One line."""
    machine = f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs"
    print(json.dumps(case | {"repeats": repeats, "machine": machine, "pillow": PIL.__version__}), flush=True)


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of JPEG or PNG files, instead of generated ones")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000, help="generated ones")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["prepare", "read"])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with 'progan prepare' of it alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.data or make_jpegs(folder / "jpegs", args.images, 2 * args.resolution)
        if args.against:
            version_cases(source, folder, args.resolution, args.repeats, args.against)
            return
        if args.only != "read":
            prepare_cases(source, folder, args.resolution, args.repeats)
        if args.only != "prepare":
            read_cases(source, folder, args.resolution, args.repeats)


if __name__ == "__main__":
    main()
