"""Time and FLOPs of one training iteration (a step of D and one of G) beside pro-gan-pth 3.4 at equal widths.

python benchmarks/train_step.py [--cases 512-maps-16 ...] [--repeats 9] [--threads 2] [--full] [--no-peer]

Both run in this process, in turn, on equal batches. The peer is downloaded with pip on first use, or read from
--peer. One JSON line per case, then a table.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import json
import statistics
import subprocess
import sys
import tarfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import torch
from machine import machine
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from progan import winograd
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.schedule import ScheduleConfig, spans
from progan.training.config import RunConfig
from progan.training.loop import Trainer

PEER = "pro-gan-pth-3.4"
PEER_SHA256 = "eef1a0287a11ddaaf807705ddbe649e26980fd815ae7dbbaae626c4ce740862a"  # of the archive on PyPI
KIMG = 600  # of every hold and fade
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Networks, resolution and batch of one measurement."""

    fmap_base: int
    fmap_max: int
    resolution: int
    batch: int

    @property
    def level(self) -> int:
        """Index of the newest block."""
        return self.resolution.bit_length() - 3


CASES = {
    "512-maps-16": Case(8192, 512, 16, 4),
    "512-maps-16-batch-16": Case(8192, 512, 16, 16),
    "512-maps-32": Case(8192, 512, 32, 4),
    "512-maps-64": Case(8192, 512, 64, 2),  # 256 maps at 64x64, as the CelebA-HQ networks have them
    "128-maps-16": Case(4096, 128, 16, 16),
    "128-maps-32": Case(4096, 128, 32, 16),  # the CIFAR-10 networks
    "128-maps-64": Case(4096, 128, 64, 4),  # 128 maps at 64x64 too
}


class RandomImages:
    """One batch of noise, held in memory."""

    def __init__(self, batch: int, resolution: int) -> None:
        self.pixels = torch.randint(0, 256, (batch, 3, resolution, resolution), dtype=torch.uint8)

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        """The same images for every position."""
        return self.pixels[offset:count:stride]

    def labels(self, *_: int, **__: int) -> None:
        """None: the networks are not conditional."""
        return None

    def __len__(self) -> int:
        return len(self.pixels)


def our_step(case: Case, fading: bool) -> tuple[Step, int]:
    """An iteration of the trainer in the middle of the last fade, or after it; and the number of parameters."""
    config = RunConfig(
        gan=ProGANConfig(fmap_base=case.fmap_base, fmap_max=case.fmap_max),
        schedule=ScheduleConfig(resolution=case.resolution, batch=case.batch, hold_kimg=KIMG, fade_kimg=KIMG),
        precision="fp32",
    )
    spec = ImageSpec(3, case.resolution, case.resolution)
    trainer = Trainer(config, spec, RandomImages(case.batch, case.resolution), device=torch.device("cpu"))
    fade, hold = spans(config.schedule)[-2:]
    trainer.images_seen = (fade.first + fade.end) // 2 if fading else hold.first
    return trainer.iterate, parameters(trainer.gan.networks)


def peer_step(folder: Path, case: Case, fading: bool) -> tuple[Step, int]:
    """An iteration as in the peer's ``ProGAN.train``: step of D, moving average, step of G; number of parameters."""
    gan, layers, losses, networks = import_peer(folder)

    def maps(stage: int) -> int:
        return min(case.fmap_max, case.fmap_base // 2**stage)

    depth, latent = case.level + 2, case.fmap_max
    with patch.object(networks, "nf", maps), contextlib.redirect_stdout(io.StringIO()):
        generator, discriminator = networks.Generator(depth, 3, latent), networks.Discriminator(depth, 3, latent)
        model = gan.ProGAN(generator, discriminator)
    optimizers = {n: torch.optim.Adam(n.parameters(), 1e-3, betas=(0.0, 0.99)) for n in (model.gen, model.dis)}
    loss, real = losses.WganGP(), torch.rand(case.batch, 3, case.resolution, case.resolution) * 2 - 1
    alpha = 0.5 if fading else 1

    def step() -> None:
        z = torch.randn(case.batch, latent)
        model.optimize_discriminator(loss, optimizers[model.dis], z, real, depth, alpha)
        layers.update_average(model.gen_shadow, model.gen, beta=model.ema_beta)
        model.optimize_generator(loss, optimizers[model.gen], z, real, depth, alpha)

    return step, parameters(torch.nn.ModuleList([model.gen, model.dis]))


def parameters(networks: torch.nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in networks.parameters())


def obtain_peer(folder: Path | None) -> Path:
    """Where the peer's source is: ``folder`` if given, else benchmarks/.peers, filled from PyPI when empty.

    Raises:
        SystemExit: if it cannot be downloaded, or is another file than the one that was measured before.
    """
    peers = Path(__file__).parent / ".peers"
    source = folder or peers / PEER
    if source.is_dir():
        return source
    if folder:
        sys.exit(f"error: no folder {folder}; leave --peer away to download {PEER}")
    peers.mkdir(exist_ok=True)
    name, version = PEER.rsplit("-", 1)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(peers), f"{name}=={version}"]
    if subprocess.run(pip, check=False).returncode:
        sys.exit(f"error: pip could not download {PEER}; --no-peer measures progan alone")
    archive = peers / f"{PEER}.tar.gz"
    if hashlib.sha256(archive.read_bytes()).hexdigest() != PEER_SHA256:
        sys.exit(f"error: {archive} is not the file that is known as {PEER}")
    with tarfile.open(archive) as tar:
        tar.extractall(peers, filter="data")
    return source


@functools.cache
def import_peer(folder: Path) -> tuple[types.ModuleType, ...]:
    """The peer's modules gan, custom_layers, losses and networks, made to run with today's PyTorch.

    Stand-ins take the place of what it imports and a step does not use; torchvision has no build for the CPU's torch.
    """
    unused = {
        "torchvision": (),
        "torchvision.transforms": ("Compose", "RandomHorizontalFlip", "Resize", "ToTensor"),
        "torchvision.utils": ("save_image",),
        "torch.utils.tensorboard": ("SummaryWriter",),
    }
    stands_in = {name: types.ModuleType(name) for name in unused}
    for name, attributes in unused.items():
        for attribute in attributes:
            setattr(stands_in[name], attribute, MagicMock())
    with patch.dict(sys.modules, stands_in), patch.object(sys, "path", [str(folder), *sys.path]):
        from pro_gan_pytorch import custom_layers, gan, losses, networks  # type: ignore[import-not-found]
    # torch's private method has got a further argument since; without an output size its answer is this.
    custom_layers.EqualizedConvTranspose2d._output_padding = lambda layer, *_: layer.output_padding
    return gan, custom_layers, losses, networks


def direct(step: Step) -> Step:
    """The step with the library's convolutions in place of Winograd's."""

    def run() -> None:
        with patch.object(winograd, "choose", return_value=None):
            step()

    return run


class FlopCounter(TorchDispatchMode):
    """Counts as torch's FlopCounterMode does, whose hooks on modules cannot follow a gradient penalty."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def gflop(step: Step) -> float:
    """Billions of floating-point operations of the matrix products and convolutions of one step."""
    with FlopCounter() as counter:
        step()
    return counter.flops / 1e9


def seconds(steps: dict[str, Step], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor times of each step, taken in turn, so that what else the machine does meets all of them."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def measure(name: str, *, fading: bool, repeats: int, peer: Path | None) -> dict:
    """Medians of one case, as a line of JSON."""
    case, counts = CASES[name], {}
    torch.manual_seed(0)
    ours, counts["ours"] = our_step(case, fading)
    steps = {"ours": ours, "direct": direct(ours)}
    if peer:
        steps["theirs"], counts["theirs"] = peer_step(peer, case, fading)
    work = {step: gflop(run) for step, run in steps.items()}  # also the first warm-up
    seconds(steps, 1)
    times = seconds(steps, repeats)
    result = {"case": name, "resolution": case.resolution, "batch": case.batch, "fading": fading, "repeats": repeats}
    result |= {f"{step}_parameters": count for step, count in counts.items()}
    for step, values in times.items():
        wall, cpu = (statistics.median(v) for v in zip(*values, strict=True))
        result |= {f"{step}_s": wall, f"{step}_min_s": min(values)[0], f"{step}_cpu_s": cpu}
        result |= {f"{step}_gflop": work[step], f"{step}_gflop_per_s": work[step] / wall}
    for other in times.keys() - {"ours"}:  # each against its neighbor in time
        pairs = list(zip(times["ours"], times[other], strict=True))
        name = "ratio" if other == "theirs" else f"{other}_ratio"
        result[name] = statistics.median(b[0] / a[0] for a, b in pairs)
        result[f"cpu_{name}"] = statistics.median(b[1] / a[1] for a, b in pairs)
    return result


def table(results: list[dict]) -> str:
    """The results as a Markdown table."""
    columns = {
        "case": "case",
        "batch": "batch",
        "ours_s": "progan [s]",
        "theirs_s": "peer [s]",
        "ratio": "faster",
        "ours_cpu_s": "progan [CPU s]",
        "theirs_cpu_s": "peer [CPU s]",
        "cpu_ratio": "faster [CPU]",
        "direct_cpu_s": "progan direct [CPU s]",
        "ours_gflop": "progan [GFLOP]",
        "theirs_gflop": "peer [GFLOP]",
    }
    used = [key for key in columns if all(key in result for result in results)]
    rows = [[columns[key] for key in used], ["---"] * len(used)]
    for result in results:
        rows.append([f"{result[key]:.3g}" if isinstance(result[key], float) else str(result[key]) for key in used])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["512-maps-16", "128-maps-16", "128-maps-32"]
    parser.add_argument("--cases", nargs="+", choices=CASES, default=default, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="after the fade, instead of in the middle of it")
    parser.add_argument("--peer", type=Path, help=f"folder of the unpacked {PEER}")
    parser.add_argument("--no-peer", action="store_true", help="measure progan alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peer = None if args.no_peer else obtain_peer(args.peer)
    results = []
    for name in args.cases:
        results.append(measure(name, fading=not args.full, repeats=args.repeats, peer=peer))
        print(json.dumps(results[-1] | machine()), flush=True)
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
