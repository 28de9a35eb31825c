"""The rules of the game between a generator and a discriminator: losses of scores, penalties, and what D is shown.

A GAN has one ``Rules``, made from its loss and its tricks, and asks it wherever a trick may change something.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.augmentation import NUMBERS, augment
from progan.gans.base import Batch, Optimizer, Phase, Terms
from progan.gans.network_tricks import clip
from progan.gans.tricks import LARGEST_P, NetworkTricks, Tricks
from progan.losses import Adversarial, Scorer, gradient_penalty, relativistic, smoothed, zero_centered_penalty
from progan.ops import hashed_normal
from progan.schedule import Stage

D, G = "discriminator", "generator"
_EVERY = 4  # batches of real images between changes of the probability of augmentation (Karras et al. 2020, section 3)


class Rules:
    """What a GAN does to images, scores and steps; without tricks, that is its loss alone.

    Args:
        tricks: settings.
        adversarial: losses of both networks without tricks.
        networks: networks of the GAN, of which "discriminator" scores images.
        logistic: whether the scores are logits.
        compared: whether D's scores of held-out images are to be logged.

    Raises:
        ConfigError: if a trick does not work with this loss.
    """

    def __init__(
        self,
        tricks: Tricks,
        adversarial: Adversarial,
        networks: Mapping[str, nn.Module],
        *,
        logistic: bool,
        compared: bool,
    ) -> None:
        self.tricks, self.networks = tricks, networks
        self.more = tricks if isinstance(tricks, NetworkTricks) else NetworkTricks()
        if tricks.label_smoothing:
            if not adversarial.labels:
                raise ConfigError("gan.tricks.label_smoothing requires a loss with labels: logistic or least squares")
            adversarial = smoothed(adversarial, tricks.label_smoothing)
        if tricks.relativistic:
            adversarial = relativistic(adversarial)
        self.adversarial = adversarial
        self.compared = compared
        self.by_sign = logistic and not tricks.relativistic
        self._scores: Terms = {}  # of the latest pass
        self.memory = nn.Module()
        """State to resume: the probability of augmentation and what it follows, and means of parameters."""
        self.overfitting = Overfitting(tricks, by_sign=self.by_sign) if tricks.augment == "adaptive" else None
        self.histories = {name: History(network) for name, network in networks.items()} if tricks.history else {}
        if self.overfitting:
            self.memory.augment = self.overfitting
        if self.histories:
            self.memory.history = nn.ModuleDict(self.histories)

    @property
    def empty(self) -> bool:
        """Whether no step differs from those of the GAN without tricks."""
        return not self.compared and self.tricks == type(self.tricks)()

    def shown(self, batch: Batch, images: Tensor) -> Tensor:
        """Return images as D is shown them: with noise, and augmented.

        Real and generated images of the same position are treated equally.

        Shape: images [N, C, H, W], unchanged.
        """
        tricks = self.tricks
        if tricks.instance_noise:
            left = 1.0
            if tricks.instance_noise_kimg:
                left = max(1 - batch.images_seen / (1000 * tricks.instance_noise_kimg), 0.0)
            if left:
                noise = hashed_normal(batch.uniform("instance_noise", 2), images[0].numel()).view(images.shape)
                images = images + tricks.instance_noise * left * noise.to(images.dtype)
        if tricks.augment == "none":
            return images
        p = self.overfitting.p if self.overfitting else tricks.augment_p
        return augment(images, batch.uniform("augment", NUMBERS), p, tricks.augment_kinds)

    def critic(self, batch: Batch, on_real: Tensor, on_fake: Tensor) -> Terms:
        """Return the terms of D for its scores [N] of real and of generated images."""
        if self.overfitting:
            self.overfitting.add(batch.gather(on_real.detach()), batch.gather(on_fake.detach()))
        terms = self.adversarial.critic(on_real, on_fake)
        if self.tricks.label_flips:
            terms = self._flipped(batch, terms, on_real, on_fake)
        self._scores = {"score_real": on_real.detach(), "score_fake": on_fake.detach()}
        return terms

    def as_fake(self, scores: Tensor) -> Tensor:
        """Return the term of D [N] for its scores of images that it is to refuse."""
        return self.adversarial.critic(scores, scores)["fake"]

    def generator(self, on_fake: Tensor, on_real: Tensor | None = None) -> Terms:
        """Return the terms of G for D's scores [N] of generated images, and of real ones if losses are relative."""
        return self.adversarial.generator(*([on_fake, on_real] if self.adversarial.relative else [on_fake]))

    def penalties(self, batch: Batch, scorer: Scorer, real: Tensor, fake: Tensor) -> Terms:
        """Return the terms that penalize D's gradients, at images as D is shown them."""
        tricks, more, terms = self.tricks, self.more, {}
        if tricks.r1:
            terms["r1"] = tricks.r1 / 2 * zero_centered_penalty(scorer, real)
        if tricks.r2:
            terms["r2"] = tricks.r2 / 2 * zero_centered_penalty(scorer, fake)
        if more.gradient_penalty:
            mix = batch.uniform("penalty_mix", 1).view(-1, 1, 1, 1).to(real.dtype)
            slopes = gradient_penalty(scorer, real, fake, mix, one_sided=more.one_sided)
            terms["gradient_penalty"] = more.gradient_penalty * slopes
        return terms

    def optimizers(self, optimizers: Mapping[str, Optimizer]) -> dict[str, Optimizer]:
        """Return optimizers by network, or by "phase/network", with the learning rates and the decay of the tricks."""
        found = dict.fromkeys((D, G), Optimizer()) | dict(optimizers)
        rates = {D: self.tricks.d_lr, G: self.tricks.g_lr}
        decay = self.more.weight_decay
        for key, how in found.items():
            rate = rates.get(key.rpartition("/")[2], 1.0)
            found[key] = replace(how, lr=how.lr * rate, weight_decay=decay or how.weight_decay)
        return found

    def phases(self, phases: Sequence[Phase], stage: Stage, held_out: Callable[[Batch], Tensor]) -> list[Phase]:
        """Return the steps of an iteration with what the tricks add to them.

        Args:
            phases: steps without tricks.
            stage: stage of the iteration.
            held_out: function that returns D's scores [N] of a batch of held-out images.

        Raises:
            ConfigError: if the number of steps of a network cannot be changed.
        """
        if self.empty:
            return list(phases)
        phases, every = self._repeated(phases), _EVERY * stage.batch
        shown = sum(phase.repeats * phase.batch * phase.shows_images for phase in phases) * stage.batch
        due = (stage.images_seen + shown) // every > stage.images_seen // every
        return [self._phase(phase, held_out, due=due) for phase in phases]

    def _repeated(self, phases: Sequence[Phase]) -> list[Phase]:
        steps: dict[tuple[str, ...], int] = {(D,): self.more.d_steps, (G,): self.more.g_steps}
        if any(steps.values()) and {phase.trains for phase in phases} != set(steps):
            name = "d_steps" if self.more.d_steps else "g_steps"
            raise ConfigError(f"gan.tricks.{name} requires that D and G take turns, which this GAN does not do")
        return [replace(phase, repeats=steps.get(phase.trains) or phase.repeats) for phase in phases]

    def _phase(self, phase: Phase, held_out: Callable[[Batch], Tensor], *, due: bool) -> Phase:
        """A phase with its additional terms, and with what is done after its steps."""
        plays_d = D in phase.trains

        def loss(batch: Batch) -> Terms:
            terms = phase.loss(batch)
            if plays_d and due and self.compared and batch.held_out is not None:
                with torch.no_grad():
                    scores = held_out(batch.held_out()).detach()
                terms |= self._scores | {"score_held_out": scores}
                if self.overfitting:
                    self.overfitting.add_held_out(batch.gather(scores))
            if plays_d and self.overfitting:
                terms["augment_p"] = self.overfitting.p.clone().view(1)
            for name in phase.trains if self.histories else ():
                terms[f"{name}_history"] = self.tricks.history * self.histories[name].distance()
            return terms

        def after() -> None:
            if phase.after_step:
                phase.after_step()
            if plays_d and self.more.clip:
                clip(self.networks[D], self.more.clip)
            for name in phase.trains if self.histories else ():
                self.histories[name].add()
            if plays_d and due and self.overfitting:
                self.overfitting.update()

        return replace(phase, loss=loss, after_step=after)

    def _flipped(self, batch: Batch, terms: Terms, on_real: Tensor, on_fake: Tensor) -> Terms:
        """Terms of D in which some images have the other label."""
        if self.adversarial.relative:
            others = self.adversarial.critic(on_fake, on_real)
        else:
            others = {
                "real": self.as_fake(on_real),
                "fake": self.adversarial.critic(on_fake, on_fake)["real"],
            }
        flips = {name: batch.uniform(f"flip_{name}", 1)[:, 0] < self.tricks.label_flips for name in terms}
        return {name: torch.where(flips[name], others[name], term) for name, term in terms.items()}


class Overfitting(nn.Module):
    """Probability of the augmentation, which follows how much D overfits (Karras et al. 2020, section 3).

    Overfitting is measured by r, which is 0 if there is none and 1 if it is complete: E sign D(real) if scores are
    logits, else (E D(real) - E D(held out)) / (E D(real) - E D(generated)).

    Args:
        tricks: settings.
        by_sign: whether the signs of scores are used.
    """

    p: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, tricks: Tricks, *, by_sign: bool) -> None:
        super().__init__()
        self.target, self.kimg, self.by_sign = tricks.augment_target, tricks.augment_kimg, by_sign
        self.most = LARGEST_P
        self.register_buffer("p", torch.tensor(tricks.augment_p))
        self.register_buffer("sums", torch.zeros(3))  # scores of real, generated and held-out images, or of signs
        self.register_buffer("counts", torch.zeros(3))

    @torch.no_grad()
    def add(self, on_real: Tensor, on_fake: Tensor) -> None:
        """Add the scores of all ranks for the images of a step."""
        on_real = on_real.sign() if self.by_sign else on_real
        self.sums[:2] += torch.stack([on_real.sum(), on_fake.sum()])
        self.counts[:2] += len(on_real)

    @torch.no_grad()
    def add_held_out(self, scores: Tensor) -> None:
        """Add the scores of all ranks for held-out images."""
        self.sums[2] += scores.sum()
        self.counts[2] += len(scores)

    @property
    def r(self) -> Tensor:
        """Overfitting since the last update, a scalar; not finite if there is nothing to measure it by."""
        real, fake, held_out = self.sums / self.counts
        return real if self.by_sign else (real - held_out) / (real - fake)

    @torch.no_grad()
    def update(self) -> None:
        """Move the probability towards less overfitting, by the number of real images since the last update."""
        r = self.r
        step = torch.sign(r - self.target) * self.counts[0] / (1000 * self.kimg)
        self.p.copy_(torch.where(torch.isfinite(r), (self.p + step).clamp(0, self.most), self.p))
        self.sums.zero_()
        self.counts.zero_()


class History(nn.Module):
    """Means of a network's parameters over all steps so far (Salimans et al. 2016, section 3.3).

    Args:
        network: network whose parameters are followed.
    """

    steps: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.parameters_of = (network,)  # in a tuple, so that it is no part of this module
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for number, p in enumerate(network.parameters()):
            self.register_buffer(str(number), torch.zeros_like(p))

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        buffers = dict(self.named_buffers())
        return [(p, buffers[str(number)]) for number, p in enumerate(self.parameters_of[0].parameters())]

    def distance(self) -> Tensor:
        """Return the squared distance of the parameters from their means, [1]; 0 before the first step."""
        total = torch.stack([(p - mean).square().sum() for p, mean in self._pairs()]).sum()
        return torch.where(self.steps > 0, total, torch.zeros_like(total)).view(1)

    @torch.no_grad()
    def add(self) -> None:
        """Add the current parameters to the means."""
        self.steps += 1
        for p, mean in self._pairs():
            mean += (p - mean) / self.steps
