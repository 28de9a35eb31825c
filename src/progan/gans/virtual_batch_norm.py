"""Virtual batch norm (Salimans et al. 2016, section 3.4): batch norm that does not couple the samples of a batch.

A reference batch is chosen once. It is normalized by its own statistics, every other sample by those of the reference
and of itself, so that an image is a function of its own latent. The reference must pass through the network as well,
which is why the paper has it in the generator only.
"""

import torch
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d, BatchNorm2d, _OverRanks
from progan.gans.base import Latent
from progan.ops import at_least_float32, no_autocast


def virtual_batch(generator: nn.Module, latents: Tensor) -> "VirtualBatch":
    """Return a generator with virtual batch norm in place of batch norm, which it loses.

    Args:
        generator: sampler with the attribute ``latent`` whose batch norms are those of ``progan.batchnorm``.
        latents: latents of the reference batch, [R, Z]; R at least 1.
    """
    for module in list(generator.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm1d | BatchNorm2d):
                kind = VirtualBatchNorm2d if isinstance(child, BatchNorm2d) else VirtualBatchNorm1d
                setattr(module, name, kind(child, len(latents)))
    return VirtualBatch(generator, latents)


class VirtualBatch(nn.Module):
    """Generator that is given a fixed reference batch in front of every batch of latents.

    Args:
        generator: generator with virtual batch norm.
        latents: latents of the reference batch, [R, Z].

    Shape: z [N, Z] -> images [N, C, H, W].
    """

    reference: Tensor
    copied_buffers = ("reference",)

    def __init__(self, generator: nn.Module, latents: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.latent: Latent = generator.latent  # type: ignore[assignment]
        self.register_buffer("reference", latents)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            raise ValueError("virtual batch norm has no labels of the reference batch, so the generator takes none")
        return self.generator(torch.cat([self.reference, z]), level, alpha)[len(self.reference) :]


class _Virtual(_OverRanks):
    """Batch norm with the statistics of the first samples of a batch, the reference, and of each sample itself.

    Of the R reference samples and the sample, each has the weight 1 / (R + 1) in the means of the values and of their
    squares, which are over pixels as well. There are no running statistics: training and evaluation are the same.

    Args:
        norm: batch norm whose parameters and epsilon to share.
        reference: number of samples of the reference, R.
    """

    def __init__(self, norm: _OverRanks, reference: int) -> None:
        super().__init__(norm.num_features, eps=norm.eps, affine=False, track_running_stats=False, group=1)
        self.affine, self.weight, self.bias, self.reference = norm.affine, norm.weight, norm.bias, reference

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        pixels = [1] * (input.ndim - 2)
        with no_autocast(input):
            x = at_least_float32(input)
            mean, variance = self._statistics_of_each(x.unsqueeze(-1).flatten(2))  # [R + N, C]
            y = (x - mean.view(*mean.shape, *pixels)) * (variance + self.eps).rsqrt().view(*mean.shape, *pixels)
        if self.affine:
            y = y * self.weight.view(-1, *pixels) + self.bias.view(-1, *pixels)
        return y.to(input.dtype)

    def _statistics_of_each(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance by which each sample is normalized, from [R + N, C, pixels]."""
        variances, means = torch.var_mean(x, 2, correction=0)
        first, share = means[: self.reference], self.reference / (self.reference + 1)
        mean = first.mean(0)
        variance = variances[: self.reference].mean(0) + first.var(0, correction=0)
        apart = means[self.reference :] - mean  # the variance of both together has a part that is between their means
        joint = share * variance + (1 - share) * variances[self.reference :] + share * (1 - share) * apart.square()
        return (
            torch.cat([mean.expand_as(first), mean + (1 - share) * apart]),
            torch.cat([variance.expand_as(first), joint]),
        )


class VirtualBatchNorm1d(_Virtual, BatchNorm1d):
    """Virtual batch norm for features [R + N, C] or [R + N, C, L]."""


class VirtualBatchNorm2d(_Virtual, BatchNorm2d):
    """Virtual batch norm for maps [R + N, C, H, W]."""
