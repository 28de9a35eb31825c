"""Both restoration networks of CelebA-HQ at a small scale: trained on some photographs, measured on others.

``python examples/restoration.py TRAIN TEST --out runs --picture FILE.png`` trains 'artefacts_small' and
'super_resolution_small' (or goes on with the runs that are there), then prints for pictures of TEST

- PSNR in RGB of JPEG files of some qualities, and of the same after restoration;
- PSNR of pictures enlarged four times by bicubic interpolation and by the network, and how far both are from the truth
  for ST-LPIPS (Ghildyal and Liu 2022; ``pip install --no-deps stlpips-pytorch``).

TRAIN and TEST are stores of 128 pixels or more, or anything that 'progan prepare' reads; no picture may be in both.
"""

import argparse
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from progan.cli import main as progan
from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.images import save_png, sheet, to_float, to_uint8
from progan.restoration.artefacts import jpeg
from progan.restoration.patches import psnr
from progan.restoration.restore import in_tiles
from progan.restoration.super_resolution import downscale, upscale
from progan.snapshot import Snapshot

NETWORKS = ("artefacts", "super_resolution")
QUALITIES = (10, 20, 40)
SIDE = 128  # of the pictures [pixels]


def train(source: str, out: Path) -> dict[str, torch.nn.Module]:
    """Both networks, trained to the end of their presets."""
    networks = {}
    for name in NETWORKS:
        if progan(["train", f"{name}_small", source, "--out", str(out), "--name", name]):
            raise SystemExit(f"{name}: stopped; the same command goes on")
        networks[name] = Snapshot.load(out / name).sampler
    return networks


def through(network: torch.nn.Module, images: Tensor) -> Tensor:
    """Images in [-1, 1] after a network, rounded to 8 bits as files are."""
    pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
    better = np.stack([in_tiles(network, one) for one in tqdm(pixels, unit=" pictures", leave=False)])
    return to_float(torch.from_numpy(better).permute(0, 3, 1, 2))


def perceptual(trunk: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    """ST-LPIPS of images in [-1, 1], [N] each; None if the package is not there.

    It imports three packages that this part of it does not use, torchvision among them.
    """
    for name, needs in (("torchvision", "models"), ("IPython", "embed"), ("torchsummary", "summary")):
        unused = types.ModuleType(name)
        setattr(unused, needs, None)
        sys.modules.setdefault(name, unused)
    try:
        from stlpips_pytorch import stlpips  # type: ignore[import-not-found]
    except ImportError:
        return None
    metric = stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([metric(x, y).flatten() for x, y in zip(a.split(8), b.split(8), strict=True)])

    return distance


def show(name: str, before: Tensor, after: Tensor) -> None:
    """One line: means before and after, and in how many pictures the difference has the mean's sign."""
    change = after - before
    same = (change.sign() == change.mean().sign()).float().mean()
    print(f"{name:<34}{before.mean():>9.4f}{after.mean():>9.4f}{change.mean():>+9.4f}{same:>9.0%}", flush=True)


def measure(networks: dict[str, torch.nn.Module], real: Tensor) -> dict[str, Tensor]:
    """Print the table; return the pictures of the comparison."""
    print(f"{f'{len(real)} pictures of {SIDE}x{SIDE}':<34}{'before':>9}{'after':>9}{'change':>9}{'of them':>9}")
    pictures = {}
    for quality in QUALITIES:
        worse = jpeg(real, torch.full((len(real),), quality))
        pictures |= {f"JPEG {quality}": worse, f"restored {quality}": through(networks["artefacts"], worse)}
        pair = pictures[f"JPEG {quality}"], pictures[f"restored {quality}"]
        show(f"JPEG {quality}, PSNR [dB]", *(psnr(one, real) for one in pair))
    small = downscale(real)
    bicubic, better = to_float(to_uint8(upscale(small))), through(networks["super_resolution"], small)
    show("4x over bicubic, PSNR [dB]", psnr(bicubic, real), psnr(better, real))
    for trunk in ("alex", "vgg"):
        distance = perceptual(trunk)
        if distance is None:
            print("ST-LPIPS is not installed: pip install --no-deps stlpips-pytorch")
            break
        show(f"4x over bicubic, ST-LPIPS {trunk}", distance(bicubic, real), distance(better, real))
    return pictures | {"truth": real, "bicubic": bicubic, "super-resolved": better}


def main() -> int:
    """Train, measure, and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--count", type=int, default=100, help="pictures of TEST, from all over it")
    parser.add_argument("--picture", type=Path, help="PNG file for JPEG 20, restored, truth, super-resolved, bicubic")
    parser.add_argument("--show", type=int, nargs="+", default=[0, 1, 2], help="which of the pictures are shown")
    args = parser.parse_args()
    networks = train(args.train, args.out)
    store = cached(Path(args.test), PrepareOptions(resolution=str(SIDE)))
    rows = np.linspace(0, store.count - 1, min(args.count, store.count)).astype(int)
    real = to_float(torch.from_numpy(store.level(SIDE)[rows]).permute(0, 3, 1, 2))
    pictures = measure(networks, real)
    if args.picture:
        columns = [pictures[name] for name in ("JPEG 20", "restored 20", "truth", "super-resolved", "bicubic")]
        shown = torch.stack(columns, 1)[args.show].flatten(0, 1)
        save_png(sheet(to_uint8(shown), columns=len(columns), enlarge=2), args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
