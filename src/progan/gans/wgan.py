"""Wasserstein GAN (Arjovsky, Chintala, Bottou 2017): a critic that estimates how far apart two distributions are.

The critic f maximizes mean f(real) - mean f(G(z)). If its slope is at most K everywhere, that maximum is K times the
Wasserstein-1 distance between real and generated images (equation 2), and G follows its slope. All weights of the
critic are therefore clipped to a small range (algorithm 1). The critic should be close to its optimum, so it gets more
steps than G, and its score has no sigmoid. Momentum makes training unstable (section 4), hence RMSprop.

The critic's estimate of the distance, which falls as images get better (the paper's figure 3), is in stats.jsonl as
"discriminator/distance". It is -("discriminator/real" + "discriminator/fake"), in units that depend on the clipping.

Where paper and authors' code differ:

- The paper clips after each step of the critic. The code clips before it, so that G sees a critic whose last step is
  not clipped (``clip_moment``). Both clip everything, including the gains and biases of batch norm.
- The code gives the critic 100 steps in each of the first 25 iterations of G and in every 500th (``long_rounds``,
  ``long_every``, ``long_critic``); the paper's algorithm always has 5.
- The code minimizes mean f(real) - mean f(G(z)) for the critic and mean f(G(z)) for G: the same with -f.
"""

import bisect
import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.dcgan_networks import Discriminator, Generator
from progan.gans.network_tricks import clip
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, TwoPlayer
from progan.losses import WASSERSTEIN
from progan.ops import at_least_float32, no_autocast
from progan.schedule import Stage

Body = Literal["dcgan", "mlp"]


@dataclass(frozen=True, kw_only=True)
class WGANConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and steps of WGAN; the defaults are the paper's, with the networks of DCGAN."""

    generator: Body = "dcgan"
    """Generator: DCGAN's, or dense layers (mlp) with a linear output (the paper's figures 5 to 7 compare them)."""
    critic: Body = "dcgan"
    """Critic: DCGAN's discriminator, or dense layers (mlp)."""
    maps: int = 64
    """Feature maps of DCGAN's networks next to the images; each halving of the size doubles them."""
    most_maps: int = 1024
    """Largest number of feature maps of a layer."""
    extra: int = 0
    """Number of additional 3x3 convolutions next to the images, in both of DCGAN's networks."""
    norm: Literal["both", "generator", "discriminator", "none"] = "both"
    """Networks of DCGAN with batch norm."""
    hidden: int = 512
    """Width of the three hidden layers of each mlp."""
    latent_size: int = 100
    """Number of components of a latent, which are N(0, 1)."""
    clip: float = 0.01
    """Largest absolute value of the critic's parameters."""
    clip_moment: Literal["after", "before"] = "after"
    """Clip after each step of the critic (paper), or before it (authors' code)."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """Optimizer of both networks: RMSprop with decay 0.99, or Adam with the run's beta1 and beta2."""
    n_critic: int = 5
    """Number of steps of the critic per step of G."""
    long_critic: int = 100
    """Number of steps of the critic in the long rounds at the start and at intervals."""
    long_rounds: int = 25
    """Number of iterations of G at the start with long_critic steps of the critic; 0: none."""
    long_every: int = 500
    """Every how many iterations of G the critic has long_critic steps; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"bn_group": 0, "extra": 0, "long_rounds": 0, "long_every": 0}
        for name in ("maps", "most_maps", "hidden", "latent_size", "n_critic", "long_critic", *least):
            if getattr(self, name) < least.get(name, 1):
                raise ConfigError(f"gan.{name} must be at least {least.get(name, 1)}, got {getattr(self, name)}")
        if not self.clip > 0:
            raise ConfigError(f"gan.clip must be above 0, got {self.clip:g}")

    @property
    def logistic(self) -> bool:
        """Whether the scores of D are logits."""
        return False

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        bodies = {"generator": self.generator, "discriminator": self.critic}
        return any(body == "dcgan" and self.norm in ("both", name) for name, body in bodies.items())

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration, except in long rounds."""
        return self.n_critic

    def critic_steps(self, iteration: int) -> int:
        """Return the number of steps of the critic in an iteration of G; the first one is 0.

        >>> [WGANConfig().critic_steps(iteration) for iteration in (0, 24, 25, 499, 500, 501)]
        [100, 100, 5, 5, 100, 5]
        """
        long = iteration < self.long_rounds or (self.long_every and iteration % self.long_every == 0)
        return self.long_critic if long else self.n_critic

    def critic_steps_before(self, iteration: int) -> int:
        """Return the number of steps of the critic before an iteration of G.

        >>> [WGANConfig().critic_steps_before(iteration) for iteration in (0, 1, 25, 26, 501)]
        [0, 100, 2500, 2505, 4975]
        """
        start = min(iteration, self.long_rounds)
        every = self.long_every or math.inf
        later = math.ceil(iteration / every) - math.ceil(start / every)  # multiples of long_every from start on
        return iteration * self.n_critic + (start + later) * (self.long_critic - self.n_critic)

    def iteration_after(self, steps: int) -> int:
        """Return the iteration of G that follows, or contains, the given number of steps of the critic.

        >>> [WGANConfig().iteration_after(steps) for steps in (0, 100, 2500, 2505, 4975)]
        [0, 1, 25, 26, 501]
        """
        return bisect.bisect_right(range(steps + 1), steps, key=self.critic_steps_before) - 1

    def make(self, spec: ImageSpec) -> "WGAN":
        """Return both networks for images of a data set, with initial weights."""
        return WGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """Return the generator alone."""
        latent = Latent(self.latent_size)
        if self.generator == "mlp":
            return MLPGenerator(spec, latent, hidden=self.hidden)
        return Generator(spec, latent, norm=self.norm in ("both", "generator"), **self._shared)

    def make_discriminator(self, spec: ImageSpec) -> nn.Module:
        """Return the critic alone."""
        if self.critic == "mlp":
            return MLPCritic(spec, hidden=self.hidden)
        return Discriminator(spec, norm=self.norm in ("both", "discriminator"), **self._shared)

    @property
    def _shared(self) -> dict[str, Any]:
        """Arguments of both of DCGAN's networks."""
        return {name: getattr(self, name) for name in ("maps", "most_maps", "extra", "bn_group")}


class MLPGenerator(nn.Module):
    """Generator of dense layers: three hidden ones with ReLU, and a linear output without tanh.

    Weights are initialized as torch does, as in the authors' code, whose own initialization is for convolutions only.

    Shape: z [N, Z] -> images [N, C, H, W], about [-1, 1] after training.
    """

    def __init__(self, spec: ImageSpec, latent: Latent, *, hidden: int = 512) -> None:
        super().__init__()
        self.latent, self.shape = latent, (spec.channels, spec.height, spec.width)
        self.layers = _dense(latent.size, hidden, math.prod(self.shape))

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        with no_autocast(z):  # 16-bit floats would round images to about 8 bits
            return self.layers(at_least_float32(z)).unflatten(1, self.shape)


class MLPCritic(nn.Module):
    """Critic of dense layers: three hidden ones with ReLU.

    Shape: x [N, C, H, W] -> scores [N].
    """

    def __init__(self, spec: ImageSpec, *, hidden: int = 512) -> None:
        super().__init__()
        self.layers = _dense(spec.channels * spec.height * spec.width, hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return at_least_float32(self.layers(x.flatten(1))[:, 0])


def _dense(into: int, hidden: int, out: int) -> nn.Sequential:
    widths = [into, hidden, hidden, hidden]
    body = [m for i, o in itertools.pairwise(widths) for m in (nn.Linear(i, o), nn.ReLU(inplace=True))]
    return nn.Sequential(*body, nn.Linear(hidden, out))


class WGAN(TwoPlayer):
    """Generator, critic and their steps. The critic is the network "discriminator", as in every GAN here."""

    def __init__(self, config: WGANConfig, spec: ImageSpec) -> None:
        self.config = config
        how = Optimizer() if config.optimizer == "adam" else Optimizer(kind="rmsprop", beta2=0.99, eps=1e-8)
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            config.make_discriminator(spec),
            adversarial=WASSERSTEIN,
            optimizers={"generator": how, "discriminator": how},
        )

    def steps(self, stage: Stage) -> list[Phase]:
        iteration = self.config.iteration_after(stage.images_seen // stage.batch)
        after = self.config.clip_moment == "after"
        critic = Phase(
            "discriminator",
            ("discriminator",),
            self.discriminator_loss,
            repeats=self.config.critic_steps(iteration),
            before_step=None if after else self.clip,
            after_step=self.clip if after else None,
        )
        return [critic, Phase("generator", ("generator",), self.generator_loss, shows_images=False)]

    def clip(self) -> None:
        """Clip all parameters of the critic, also those of batch norm."""
        clip(self.discriminator, self.config.clip)

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        real = self.reals(batch)
        on_real, on_fake = self.judge(batch, real, "real"), self.judge(batch, fake, "fake")
        distance = (on_real - on_fake).detach()  # for the statistics: it has no gradient
        return self.rules.critic(batch, on_real, on_fake) | self.penalties(batch, real, fake) | {"distance": distance}
