"""Time of one training iteration of the classic GANs beside the loops that people copy, at equal mathematics.

python benchmarks/family.py [--cases dcgan-64 wgan-gp-64] [--repeats 9] [--threads 2]

All run in this process, in turn, on equal batches. The peers of DCGAN are the loop of the PyTorch example (its
networks, `BCELoss` on a sigmoid, torch's default Adam), and the careless one that is copied as often: D's step goes
back through G, and G's step generates other images. The peer of WGAN-GP (16 maps next to the images) is the usual loop,
with separate passes for real, generated and mixed images. One JSON line per case, then a table.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from machine import machine
from torch import Tensor, nn
from train_step import RandomImages, Step, parameters, seconds

from progan.gans import DCGANConfig, WGANGPConfig
from progan.gans.base import GANConfig, ImageSpec
from progan.presets import PRESETS
from progan.training.loop import Trainer

SPEC = ImageSpec(3, 64, 64)
BATCH = 64


def ours(preset: str, gan: GANConfig) -> tuple[Step, int]:
    """An iteration of the library's loop, and the number of parameters."""
    config = replace(PRESETS[preset](), gan=gan)
    config = replace(config, schedule=replace(config.schedule, batch=BATCH))
    trainer = Trainer(config, SPEC, RandomImages(BATCH, SPEC.height), device=torch.device("cpu"))
    return trainer.iterate, parameters(trainer.gan.networks)


def reals() -> Tensor:
    """A batch of real images as a data loader gives it to the peers."""
    return torch.rand(BATCH, SPEC.channels, SPEC.height, SPEC.width) * 2 - 1


def example_networks(maps: int = 64) -> tuple[nn.Module, nn.Module]:
    """G and D of the PyTorch example at 64x64."""
    g: list[nn.Module] = [nn.ConvTranspose2d(100, 8 * maps, 4, 1, 0, bias=False)]
    d: list[nn.Module] = [nn.Conv2d(3, maps, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for times in (8, 4, 2):
        g += [nn.BatchNorm2d(times * maps), nn.ReLU(True)]
        g += [nn.ConvTranspose2d(times * maps, times * maps // 2, 4, 2, 1, bias=False)]
    for times in (1, 2, 4):
        d += [nn.Conv2d(times * maps, 2 * times * maps, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * times * maps)]
        d += [nn.LeakyReLU(0.2, inplace=True)]
    g += [nn.BatchNorm2d(maps), nn.ReLU(True), nn.ConvTranspose2d(maps, 3, 4, 2, 1, bias=False), nn.Tanh()]
    d += [nn.Conv2d(8 * maps, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    networks = nn.Sequential(*g), nn.Sequential(*d)
    for p in (p for network in networks for p in network.parameters() if p.ndim == 4):
        nn.init.normal_(p, 0.0, 0.02)
    return networks


def example(*, careless: bool) -> tuple[Step, int]:
    """An iteration as in the PyTorch example, or with D's step through G's graph, and G's generated anew."""
    g, d = example_networks()
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (g, d))
    loss, real, one, zero = nn.BCELoss(), reals(), torch.ones(BATCH), torch.zeros(BATCH)

    def step() -> None:
        d.zero_grad()
        loss(d(real).view(-1), one).backward()
        fake = g(torch.randn(BATCH, 100, 1, 1))
        loss(d(fake if careless else fake.detach()).view(-1), zero).backward()
        opt_d.step()
        g.zero_grad()
        if careless:
            fake = g(torch.randn(BATCH, 100, 1, 1))
        error = loss(d(fake).view(-1), one)
        error.backward()
        opt_g.step()
        error.item()  # every loop of this kind prints its losses

    return step, parameters(nn.ModuleList([g, d]))


class PlainBlock(nn.Module):
    """A residual block of WGAN-GP as it is written down: every layer in the order of the authors' code."""

    def __init__(self, into: int, out: int, *, up: bool) -> None:
        super().__init__()
        middle = out if up else into
        norms = (nn.BatchNorm2d(into), nn.BatchNorm2d(out)) if up else (nn.GroupNorm(1, into), nn.GroupNorm(1, into))
        resample: nn.Module = nn.Upsample(scale_factor=2) if up else nn.AvgPool2d(2)
        one, two = nn.Conv2d(into, middle, 3, padding=1, bias=False), nn.Conv2d(middle, out, 3, padding=1)
        body = [norms[0], nn.ReLU(), *([resample] if up else []), one, norms[1], nn.ReLU(), two]
        self.body = nn.Sequential(*body, *([] if up else [resample]))
        self.shortcut = nn.Sequential(
            *((resample, nn.Conv2d(into, out, 1)) if up else (nn.Conv2d(into, out, 1), resample))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


def plain_wgan_gp(maps: int) -> tuple[Step, int]:
    """An iteration of the usual WGAN-GP loop: five critic steps with three passes each, then one of G."""
    up, down = (8, 8, 4, 2, 1), (1, 2, 4, 8, 8)
    g = nn.Sequential(
        *(nn.Linear(128, 8 * maps * 16), nn.Unflatten(1, (8 * maps, 4, 4))),
        *(PlainBlock(i * maps, o * maps, up=True) for i, o in itertools.pairwise(up)),
        *(nn.BatchNorm2d(maps), nn.ReLU(), nn.Conv2d(maps, 3, 3, padding=1), nn.Tanh()),
    )
    f = nn.Sequential(
        nn.Conv2d(3, maps, 3, padding=1),
        *(PlainBlock(i * maps, o * maps, up=False) for i, o in itertools.pairwise(down)),
        *(nn.Flatten(), nn.Linear(8 * maps * 16, 1)),
    )
    opt_g, opt_f = (torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.0, 0.9)) for net in (g, f))
    real = reals()

    def step() -> None:
        for p in f.parameters():
            p.requires_grad_(True)
        for _ in range(5):
            opt_f.zero_grad()
            with torch.no_grad():
                fake = g(torch.randn(BATCH, 128))
            mixed = torch.lerp(real, fake, torch.rand(BATCH, 1, 1, 1)).requires_grad_(True)
            (slope,) = torch.autograd.grad(f(mixed).sum(), mixed, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
            (f(fake).mean() - f(real).mean() + 10 * penalty).backward()
            opt_f.step()
        for p in f.parameters():
            p.requires_grad_(False)
        opt_g.zero_grad()
        (-f(g(torch.randn(BATCH, 128))).mean()).backward()
        opt_g.step()

    return step, parameters(nn.ModuleList([g, f]))


Makers = dict[str, Callable[[], tuple[Step, int]]]
CASES: dict[str, Makers] = {
    "dcgan-64": {
        "progan": lambda: ours("dcgan_celeba_64", DCGANConfig()),
        "example": lambda: example(careless=False),
        "careless": lambda: example(careless=True),
    },
    "wgan-gp-64": {
        "progan": lambda: ours("wgan_gp_lsun_64", WGANGPConfig(maps=16)),
        "plain loop": lambda: plain_wgan_gp(16),
    },
}


def measure(name: str, repeats: int) -> dict:
    """Medians of one case, as a line of JSON; ratios are those of neighbors in time."""
    torch.manual_seed(0)
    made = {peer: make() for peer, make in CASES[name].items()}
    steps = {peer: step for peer, (step, _) in made.items()}
    seconds(steps, 2)
    times = seconds(steps, repeats)
    result: dict = {"case": name, "batch": BATCH, "repeats": repeats}
    for peer, values in times.items():
        wall, cpu = (statistics.median(v) for v in zip(*values, strict=True))
        result |= {f"{peer}_parameters": made[peer][1], f"{peer}_s": wall, f"{peer}_cpu_s": cpu}
        if peer != "progan":
            pairs = list(zip(times["progan"], values, strict=True))
            result[f"{peer}_ratio"] = statistics.median(b[0] / a[0] for a, b in pairs)
            result[f"{peer}_cpu_ratio"] = statistics.median(b[1] / a[1] for a, b in pairs)
    return result


def table(results: list[dict]) -> str:
    """The results as a Markdown table, one line for each peer."""
    rows = [["case", "peer", "progan [s]", "peer [s]", "faster", "faster [CPU]"], ["---"] * 6]
    for r in results:
        for peer in CASES[r["case"]]:
            if peer != "progan":
                numbers = (r["progan_s"], r[f"{peer}_s"], r[f"{peer}_ratio"], r[f"{peer}_cpu_ratio"])
                rows.append([r["case"], peer, *(f"{number:.3g}" for number in numbers)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = []
    for name in args.cases:
        results.append(measure(name, args.repeats))
        print(json.dumps(results[-1] | machine()), flush=True)
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
