"""Tricks of the trade as settings: what the papers add to the game between G and D, each of them off by default.

``docs/tricks.md`` says what each of them claims, what it did in our measurements, and when to take it. What they do is
in ``rules.py`` (labels, penalties, what D is shown), ``augmentation.py`` and ``network_tricks.py`` (layers of D).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from progan.errors import ConfigError
from progan.gans.augmentation import KINDS, Kind
from progan.gans.base import WHOLE_BATCH, GANConfig

HELD_OUT = 0.05
"""Share of the images that is kept from training where the adaptive augmentation needs some."""
LARGEST_P = 0.8
"""Largest probability of the augmentation that does not lead generated images to show it (Karras et al. 2020)."""


@dataclass(frozen=True, kw_only=True)
class Tricks:
    """Tricks that do not depend on the networks. All of them are off by default."""

    label_smoothing: float = 0.0
    """One-sided label smoothing: the label of real images is 1 - N instead of 1 (Salimans et al. 2016, section 3.4).
    Requires a loss with labels."""
    label_flips: float = 0.0
    """Noise on labels: probability that D is told the wrong label of an image."""
    relativistic: bool = False
    """Compare each real image with a generated one: both losses are functions of the difference of their scores
    (Jolicoeur-Martineau 2019)."""
    instance_noise: float = 0.0
    """Standard deviation of normal noise that is added to all images that D is shown (Sonderby et al. 2017)."""
    instance_noise_kimg: float = 0.0
    """Thousands of real images over which the noise falls to 0; 0: it stays the same."""
    r1: float = 0.0
    """Weight gamma of the penalty gamma/2 |grad D|^2 at real images (Mescheder et al. 2018); 0: none."""
    r2: float = 0.0
    """Weight gamma of the same penalty at generated images; 0: none."""
    d_lr: float = 1.0
    """Learning rate of D, relative to its usual one (TTUR, Heusel et al. 2017)."""
    g_lr: float = 1.0
    """Learning rate of G, relative to its usual one."""
    history: float = 0.0
    """Weight of historical averaging: the squared distance of a network's parameters from their mean over all steps so
    far (Salimans et al. 2016, section 3.3); 0: none."""
    freeze_d: int = 0
    """Number of layers of D, from the images on, that are not trained (FreezeD, Mo et al. 2020); for runs that begin
    with the networks of another one (--init)."""
    augment: Literal["none", "fixed", "adaptive"] = "none"
    """Augment all images that D is shown, with a fixed probability, or with one that follows D's overfitting
    (ADA, Karras et al. 2020)."""
    augment_kinds: tuple[Kind, ...] = KINDS
    """Kinds of augmentation."""
    augment_p: float = 0.0
    """Probability of each kind of augmentation if it is fixed, or at the start if it is adaptive."""
    augment_target: float = 0.6
    """Degree of overfitting that the adaptive augmentation aims at, 0 ... 1."""
    augment_kimg: float = 500.0
    """Thousands of real images in which the adaptive probability could go from 0 to 1."""
    held_out: float = 0.0
    """Share of the images that is never shown in training. D's scores of these are logged beside the others. The
    adaptive augmentation of losses without labels requires some and takes 5 % by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment_kinds", tuple(self.augment_kinds))  # files have lists
        for name, most in _RANGES.items():
            if name in vars(self) and not 0 <= getattr(self, name) <= most:
                limit = f"0 ... {most:g}" if most < float("inf") else "at least 0"
                raise ConfigError(f"gan.tricks.{name} must be {limit}, got {getattr(self, name)}")
        for name in ("d_lr", "g_lr", "augment_kimg"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"gan.tricks.{name} must be above 0, got {getattr(self, name)}")
        self._check_augmentation()
        if self.instance_noise_kimg and not self.instance_noise:
            raise ConfigError("gan.tricks.instance_noise_kimg requires --gan.tricks.instance-noise, such as 0.1")

    def _check_augmentation(self) -> None:
        known = ("none", "fixed", "adaptive")
        if self.augment not in known:
            raise ConfigError(f"gan.tricks.augment must be one of {', '.join(known)}; got {self.augment!r}")
        if unknown := [kind for kind in self.augment_kinds if kind not in KINDS]:
            raise ConfigError(f"gan.tricks.augment_kinds must be of {', '.join(KINDS)}; got {unknown[0]!r}")
        if len(set(self.augment_kinds)) < len(self.augment_kinds):
            raise ConfigError("gan.tricks.augment_kinds contains a kind twice")
        if self.augment != "none" and not self.augment_kinds:
            raise ConfigError(f"gan.tricks.augment_kinds requires at least one of {', '.join(KINDS)}")
        if self.augment == "fixed" and not self.augment_p:
            raise ConfigError("gan.tricks.augment fixed requires a probability, such as --gan.tricks.augment-p 0.3")
        if self.augment == "none" and self.augment_p:
            raise ConfigError("gan.tricks.augment_p requires --gan.tricks.augment fixed or adaptive")
        leaking = {"flip", "turn"}.intersection(self.augment_kinds)
        if self.augment_p > LARGEST_P and leaking:
            raise ConfigError(
                f"gan.tricks.augment_p {self.augment_p:g} would teach G to generate flipped or turned images; use at "
                f"most {LARGEST_P}, or --gan.tricks.augment-kinds without flip and turn"
            )


@dataclass(frozen=True, kw_only=True)
class NetworkTricks(Tricks):
    """Tricks for GANs of one generator and one discriminator of any layers. All of them are off by default."""

    gradient_penalty: float = 0.0
    """Weight of the penalty of D's gradient between real and generated images (Gulrajani et al. 2017); 0: none."""
    one_sided: bool = False
    """Penalize only gradients whose norm is above 1 (Gulrajani et al. 2017, section 4)."""
    spectral_norm: bool = False
    """Divide the weights of each layer of D by their largest singular value (Miyato et al. 2018)."""
    d_dropout: float = 0.0
    """Probability of dropping an input of each layer of D except the first (dropout); 0: none."""
    minibatch: int = 0
    """Number of kernels of minibatch discrimination before the last layer of D (Salimans et al. 2016, section 3.2);
    0: none."""
    feature_matching: float = 0.0
    """Weight of feature matching, which then is the only loss of G: the squared distance between the mean features of
    real and of generated images before the last layer of D (Salimans et al. 2016, section 3.1); 0: none."""
    wrong_labels: float = 0.0
    """Share of the generated images in the loss of D that real images with wrong labels take, which D is to refuse as
    well (GAN-CLS, Reed et al. 2016; 0.5 there): another class, or the attributes of another image. Requires a
    conditional GAN; 0: none."""
    d_steps: int = 0
    """Number of steps of D per iteration; 0: as usual for this GAN."""
    g_steps: int = 0
    """Number of steps of G per iteration; 0: as usual for this GAN."""
    clip: float = 0.0
    """Largest absolute value of the parameters of D, enforced after its steps (Arjovsky et al. 2017); 0: none."""
    weight_decay: float = 0.0
    """Weight decay (L2 penalty) of both networks; 0: as usual for this GAN."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_dropout == 1:
            raise ConfigError("gan.tricks.d_dropout must be below 1, or D sees nothing")
        if self.one_sided and not self.gradient_penalty:
            raise ConfigError("gan.tricks.one_sided requires --gan.tricks.gradient-penalty, such as 10")
        if self.wrong_labels and self.relativistic:
            raise ConfigError(
                "gan.tricks.wrong_labels requires a loss of generated images, so it excludes relativistic"
            )
        if self.feature_matching and self.relativistic:
            raise ConfigError("gan.tricks.feature_matching replaces the loss of G, so it excludes relativistic")


_RANGES: dict[str, float] = {
    **dict.fromkeys(("label_smoothing", "label_flips", "held_out"), 0.5),
    **dict.fromkeys(("wrong_labels", "augment_p", "augment_target", "d_dropout"), 1.0),
    **dict.fromkeys(("instance_noise", "instance_noise_kimg", "r1", "r2", "history", "freeze_d"), float("inf")),
    **dict.fromkeys(("gradient_penalty", "minibatch", "feature_matching", "clip", "weight_decay"), float("inf")),
    **dict.fromkeys(("d_steps", "g_steps"), float("inf")),
}
"""Largest value of each setting whose smallest one is 0."""


def as_tricks(values: Any, kind: type[Tricks]) -> Any:
    """Return settings that were read from a file, a mapping by name, as an object; an object is returned unchanged."""
    return kind(**values) if isinstance(values, Mapping) else values


@dataclass(frozen=True, kw_only=True)
class TwoPlayerConfig(GANConfig):
    """Settings of a GAN of one generator and one discriminator that scores images; base class."""

    tricks: NetworkTricks = field(default_factory=NetworkTricks)
    """Tricks, all off by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tricks", as_tricks(self.tricks, NetworkTricks))

    @property
    def logistic(self) -> bool:
        """Whether the scores of D are logits, whose signs tell how many images D takes for real."""
        return True

    @property
    def held_out(self) -> float:
        """Share of the images that is never shown in training."""
        return held_out(self.tricks, logistic=self.logistic)

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together."""
        return WHOLE_BATCH if self.tricks.minibatch else super().group

    @property
    def whole_share(self) -> bool:
        """Whether a rank must see its share of a batch in one pass."""
        return bool(self.tricks.feature_matching or self.tricks.wrong_labels) or super().whole_share


def held_out(tricks: Tricks, *, logistic: bool) -> float:
    """Return the share of the images that is never shown in training; see ``Tricks.held_out``."""
    needed = tricks.augment == "adaptive" and not (logistic and not tricks.relativistic)
    return tricks.held_out or (HELD_OUT if needed else 0.0)
