"""Small GANs of kinds that ProGAN is not, in memory: what the contract of gans/base.py has to carry."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan import draws
from progan.batchnorm import BatchNorm1d
from progan.gans.base import GAN, Batch, GANConfig, ImageSpec, Latent, Optimizer, Phase, Ramp, Terms
from progan.losses import WASSERSTEIN
from progan.schedule import DecayConfig, ScheduleConfig, Stage
from progan.training.config import RunConfig
from progan.training.distributed import Ranks
from progan.training.loop import Trainer

COUNT = 40
"""Items of each source."""
STEPS = 12
"""Iterations of a toy run."""


class Pictures:
    """Data in memory; sample p of a source is item ``order[p mod N]``, without mirroring."""

    def __init__(self, spec: ImageSpec, source: int) -> None:
        shape = (COUNT, spec.channels, spec.height, spec.width)
        rng = np.random.default_rng(source)
        self.pixels = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
        if spec.height == 1:  # points of the plane, as the networks take them
            self.pixels = torch.from_numpy(rng.uniform(-1, 1, shape)).float()
        self.known = (
            torch.from_numpy(rng.standard_normal((COUNT, spec.attributes))).float() if spec.attributes else None
        )
        self.order = draws.permutation(source, "order", 0, COUNT)
        self.asked: list[int] = []

    def __len__(self) -> int:
        return COUNT

    def _rows(self, position: int, count: int, offset: int, stride: int) -> np.ndarray:
        return self.order[np.arange(position + offset, position + count, stride) % COUNT]

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        self.asked += range(position + offset, position + count, stride)
        return self.pixels[self._rows(position, count, offset, stride)]

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        return None if self.known is None else self.known[self._rows(position, count, offset, stride)]


class Vectors(nn.Sequential):
    """Dense layers; ``latent`` makes it a sampler of images of a spec."""

    latent: Latent | None = None

    def __init__(self, *sizes: int, norm: bool = False) -> None:
        layers: list[nn.Module] = []
        for into, out in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(into, out), *([BatchNorm1d(out)] if norm else []), nn.Tanh()]
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1]))


class ImageSampler(nn.Module):
    """A dense generator as a sampler: latents to images in [-1, 1]."""

    def __init__(self, body: nn.Module, spec: ImageSpec, latent: Latent) -> None:
        super().__init__()
        self.body, self.shape, self.latent = body, (spec.channels, spec.height, spec.width), latent

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = x if labels is None else torch.cat([x, labels], 1)
        return torch.tanh(self.body(x)).unflatten(1, self.shape)


def _size(spec: ImageSpec) -> int:
    return spec.channels * spec.height * spec.width


@dataclass(frozen=True, kw_only=True)
class ClippedConfig(GANConfig):
    """WGAN: three steps of a clipped critic by RMSprop for each of G."""

    clip: float = 0.05

    @property
    def batches_shown(self) -> int:
        return 3

    def make(self, spec: ImageSpec) -> "Clipped":
        return Clipped(self, spec)

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        return ImageSampler(Vectors(4, 8, _size(spec)), spec, Latent(4))


class Clipped(GAN):
    def __init__(self, config: ClippedConfig, spec: ImageSpec) -> None:
        self.config, self.generator, self.critic = config, config.make_sampler(spec), Vectors(_size(spec), 8, 1)
        rms = Optimizer(kind="rmsprop", beta2=0.99, eps=1e-4)
        networks = {"generator": self.generator, "critic": self.critic}
        super().__init__(networks, optimizers={"generator": rms, "critic": rms})

    def phases(self, stage: Stage) -> list[Phase]:
        return [
            Phase("critic", ("critic",), self.critic_loss, repeats=3, before_step=self.clip),
            Phase("generator", ("generator",), self.generator_loss, shows_images=False),
        ]

    @torch.no_grad()
    def clip(self) -> None:
        for p in self.critic.parameters():
            p.clamp_(-self.config.clip, self.config.clip)

    def fakes(self, batch: Batch) -> Tensor:
        return self.generator(batch.normal("latent", 4), batch.level)

    def critic_loss(self, batch: Batch) -> Terms:
        real, fake = (self.critic(x.flatten(1))[:, 0] for x in (batch.images, self.fakes(batch).detach()))
        return WASSERSTEIN.critic(real, fake)

    def generator_loss(self, batch: Batch) -> Terms:
        return WASSERSTEIN.generator(self.critic(self.fakes(batch).flatten(1))[:, 0])

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(batch.normal("latent", 4), batch.level)


class Coder(nn.Module):
    """Encoder and decoder as one sampler; images are in [0, 1] inside."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, spec: ImageSpec) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.shape, self.latent = (spec.channels, spec.height, spec.width), Latent(2, scale=5.0)

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        return 2 * torch.sigmoid(self.decoder(x)).unflatten(1, self.shape) - 1

    def encode(self, images: Tensor, level: int) -> Tensor:
        return self.encoder((images.flatten(1) + 1) / 2)


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(GANConfig):
    """AAE: reconstruction, a critic of codes, and an encoder that has another optimizer against it; batch norm."""

    bn_group: int = 0

    @property
    def group(self) -> int:
        return self.bn_group or 1

    @property
    def whole_share(self) -> bool:
        return not self.bn_group

    def make(self, spec: ImageSpec) -> "Autoencoder":
        return Autoencoder(self, spec)

    def make_sampler(self, spec: ImageSpec) -> Coder:
        encoder = Vectors(_size(spec), 8, 2, norm=True)
        for module in encoder.modules():
            if isinstance(module, BatchNorm1d):
                module.group = self.bn_group
        return Coder(encoder, Vectors(2, 8, _size(spec)), spec)


class Autoencoder(GAN):
    def __init__(self, config: AutoencoderConfig, spec: ImageSpec) -> None:
        self.coder, self.critic = config.make_sampler(spec), Vectors(2, 8, 1)
        momentum = Ramp(0.5, 0.9, kimg=0.1)
        super().__init__(
            {"encoder": self.coder.encoder, "decoder": self.coder.decoder, "critic": self.critic},
            sampler=self.coder,
            optimizers={
                "encoder": Optimizer(kind="sgd", beta1=momentum, weight_decay=0.01),
                "decoder": Optimizer(kind="sgd", beta1=momentum),
                "critic": Optimizer(kind="sgd", beta1=0.1, lr=0.5),
                "fool/encoder": Optimizer(kind="sgd", beta1=0.1, lr=0.1),
            },
        )

    def look(self, batches: Iterator[Batch]) -> None:
        """The decoder begins with the mean image (GAN 2014 does so, too)."""
        images = torch.cat([batch.images for batch in batches]).flatten(1)
        mean = ((images + 1) / 2).mean(0).clamp(0.01, 0.99)
        self.coder.decoder[-1].bias.copy_(torch.log(mean / (1 - mean)))

    def phases(self, stage: Stage) -> list[Phase]:
        return [
            Phase("reconstruct", ("encoder", "decoder"), self.reconstruction, moves_average=True),
            Phase("critic", ("critic",), self.criticize, shows_images=False),
            Phase("fool", ("encoder",), self.fool, shows_images=False),
        ]

    def reconstruction(self, batch: Batch) -> Terms:
        codes = self.coder.encode(batch.images, 0)
        return {"pixels": (self.coder(codes, 0) - batch.images).square().mean((1, 2, 3))}

    def criticize(self, batch: Batch) -> Terms:
        prior = self.coder.latent.draw(batch.normal, batch.uniform, "prior")
        real, fake = self.critic(prior)[:, 0], self.critic(self.coder.encode(batch.images, 0).detach())[:, 0]
        return {"prior": F.softplus(-real), "codes": F.softplus(fake)}

    def fool(self, batch: Batch) -> Terms:
        return {"codes": F.softplus(-self.critic(self.coder.encode(batch.images, 0))[:, 0])}

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return torch.cat([batch.images, sampler(sampler.encode(batch.images, 0), 0)], 3)


class Translators(nn.Module):
    """Both directions as one sampler of images."""

    latent: Latent | None = None
    directions = ("there", "back")

    def __init__(self, there: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.there, self.back = there, back

    def forward(
        self,
        x: Tensor,
        level: int,
        alpha: Tensor | None = None,
        labels: Tensor | None = None,
        direction: str = "there",
    ) -> Tensor:
        return torch.tanh(getattr(self, direction)(x))


class Pool(nn.Module):
    """The last images that a generator made."""

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, spec: ImageSpec) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, spec.channels, spec.height, spec.width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, new: Tensor, chance: Tensor) -> Tensor:
        """For each image of all ranks, itself or an older one in whose place it is kept."""
        out = []
        for image, (swap, place) in zip(new, chance, strict=True):
            if self.filled < len(self.images):
                self.images[self.filled] = image
                self.filled += 1
                out.append(image)
            elif swap > 0.5:
                number = int(place * len(self.images))
                out.append(self.images[number].clone())
                self.images[number] = image
            else:
                out.append(image)
        return torch.stack(out)


@dataclass(frozen=True, kw_only=True)
class TranslationConfig(GANConfig):
    """CycleGAN: two sources, two generators with cycle terms, pools of fakes."""

    sources: ClassVar[int] = 2

    @property
    def whole_share(self) -> bool:
        """The pools take images in the order of positions."""
        return True

    def make(self, spec: ImageSpec) -> "Translation":
        return Translation(self, spec)

    def make_sampler(self, spec: ImageSpec) -> Translators:
        a, b = spec.channels, spec.others[0].channels
        return Translators(nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, a, 3, padding=1))


class Translation(GAN):
    def __init__(self, config: TranslationConfig, spec: ImageSpec) -> None:
        self.sampler_of_both, other = config.make_sampler(spec), spec.others[0]
        there, back = self.sampler_of_both.there, self.sampler_of_both.back
        self.judges = nn.ModuleList(nn.Conv2d(one.channels, 1, 3) for one in (spec, other))
        pools = nn.ModuleDict({"a": Pool(6, spec), "b": Pool(6, other)})
        networks = {"there": there, "back": back, "judges": self.judges}
        super().__init__(networks, sampler=self.sampler_of_both, memory=pools)

    def phases(self, stage: Stage) -> list[Phase]:
        return [
            Phase("generators", ("there", "back"), self.generators_loss),
            Phase("judges", ("judges",), self.judges_loss, shows_images=False),
        ]

    def translated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        a, b = batch.real(0), batch.real(1)
        return self.sampler(b, 0, direction="back"), self.sampler(a, 0, direction="there")

    def generators_loss(self, batch: Batch) -> Terms:
        fake_a, fake_b = self.translated(batch)
        cycle_a, cycle_b = self.sampler(fake_b, 0, direction="back"), self.sampler(fake_a, 0, direction="there")
        terms = {
            f"fool_{name}": (judge(fake) - 1).square().mean((1, 2, 3))
            for name, judge, fake in zip("ab", self.judges, (fake_a, fake_b), strict=True)
        }
        cycles = ((batch.real(0), cycle_a), (batch.real(1), cycle_b))
        return terms | {f"cycle_{n}": (x - y).abs().mean((1, 2, 3)) for n, (x, y) in zip("ab", cycles, strict=True)}

    def judges_loss(self, batch: Batch) -> Terms:
        terms: Terms = {}
        with torch.no_grad():
            fakes = self.translated(batch)
        for name, judge, fake, number in zip("ab", self.judges, fakes, (0, 1), strict=True):
            chance = batch.gather(batch.uniform(f"pool_{name}", 2))
            everyone = self.memory[name].exchange(batch.gather(fake), chance)  # type: ignore[index]
            order = batch.gather(batch.positions)
            own = everyone[torch.isin(order, batch.positions)]
            terms[f"real_{name}"] = (judge(batch.real(number)) - 1).square().mean((1, 2, 3)) / 2
            terms[f"fake_{name}"] = judge(own).square().mean((1, 2, 3)) / 2
        return terms

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(batch.real(0), 0)


@dataclass(frozen=True, kw_only=True)
class PointsConfig(GANConfig):
    """Points of the plane with attributes: two phases that show some, G on three times as many, one draw for all."""

    @property
    def takes_labels(self) -> bool:
        return True

    @property
    def batches_shown(self) -> int:
        return 2

    def make(self, spec: ImageSpec) -> "Points":
        return Points(self, spec)

    def make_sampler(self, spec: ImageSpec) -> ImageSampler:
        return ImageSampler(Vectors(3 + spec.attributes, 8, _size(spec)), spec, Latent(3, "uniform"))


class Points(GAN):
    def __init__(self, config: PointsConfig, spec: ImageSpec) -> None:
        self.generator, self.critic = config.make_sampler(spec), Vectors(_size(spec) + spec.attributes, 8, 1)
        super().__init__({"generator": self.generator, "critic": self.critic})
        self.shifts: list[float] = []

    def phases(self, stage: Stage) -> list[Phase]:
        return [
            Phase("first", ("critic",), self.critic_loss),
            Phase("second", ("critic",), self.critic_loss),
            Phase("generator", ("generator",), self.generator_loss, batch=3, repeats=2, lr=0.5, shows_images=False),
        ]

    def fakes(self, batch: Batch) -> Tensor:
        z = self.generator.latent.draw(batch.normal, batch.uniform)
        shift = batch.step_uniform("shift", 1)
        self.shifts.append(shift.item())
        return self.generator(z + 0.1 * shift, 0, None, batch.labels)

    def score(self, points: Tensor, batch: Batch) -> Tensor:
        return self.critic(torch.cat([points.flatten(1), batch.labels], 1))[:, 0]

    def critic_loss(self, batch: Batch) -> Terms:
        fake = self.fakes(batch).detach()
        return {"real": F.softplus(-self.score(batch.images, batch)), "fake": F.softplus(self.score(fake, batch))}

    def generator_loss(self, batch: Batch) -> Terms:
        return {"fake": F.softplus(-self.score(self.fakes(batch), batch))}

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(self.generator.latent.draw(batch.normal, batch.uniform), 0, None, batch.labels)


@dataclass(frozen=True)
class Toy:
    """A GAN, its data, and the rates that it takes."""

    gan: GANConfig
    spec: ImageSpec
    lr: float = 0.01
    decay: DecayConfig = field(default_factory=DecayConfig)


TOYS = {
    "wgan": Toy(ClippedConfig(), ImageSpec(1, 28, 28), decay=DecayConfig(kind="exponential", half_life_kimg=0.1)),
    "aae": Toy(AutoencoderConfig(), ImageSpec(1, 5, 7), lr=0.1),
    "cyclegan": Toy(
        TranslationConfig(),
        ImageSpec(3, 12, 12, others=(ImageSpec(1, 12, 12),)),
        decay=DecayConfig(kind="linear", start_kimg=0.04, end_kimg=0.2),
    ),
    "points": Toy(PointsConfig(), ImageSpec(2, 1, 1, attributes=2)),
}


def toy_trainer(name: str, ranks: Ranks = Ranks(), **settings: object) -> Trainer:  # noqa: B008, it is frozen
    """A trainer of a toy on data of its own."""
    toy = TOYS[name]
    side = toy.spec.shorter
    schedule = ScheduleConfig(
        resolution=side, start_resolution=side, batch=8, lr=toy.lr, decay=toy.decay, total_kimg=0.4
    )
    decay = 0.9 if name != "wgan" else 0.0
    config = RunConfig(gan=toy.gan, schedule=schedule, ema_decay=decay, adam_eps=1e-4, **settings)  # type: ignore[arg-type]
    data = [Pictures(spec, number) for number, spec in enumerate((toy.spec, *toy.spec.others))]
    return Trainer(config, toy.spec, *data, device=torch.device("cpu"), ranks=ranks)


def run(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        trainer.iterate()
    return trainer


def tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Weights, memory and average."""
    parts = {"networks": trainer.gan.networks, "memory": trainer.gan.memory, "ema": trainer.ema.network}
    return {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
