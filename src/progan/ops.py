"""Pure tensor functions used by the networks: scaling by two, fading, minibatch standard deviation, pixel norm."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def upscale2(x: Tensor) -> Tensor:
    """Repeat every pixel 2x2 (nearest neighbor).

    Shape: [N, C, H, W] -> [N, C, 2H, 2W].
    """
    return F.interpolate(x, scale_factor=2, mode="nearest")


def downscale2(x: Tensor) -> Tensor:
    """Average every 2x2 pixels (box filter).

    Shape: [N, C, 2H, 2W] -> [N, C, H, W].
    """
    return F.avg_pool2d(x, 2)


def fade_images(x: Tensor, alpha: Tensor) -> Tensor:
    """Mix real images during a fade with themselves scaled down and up, as G mixes its two outputs.

    Args:
        x: images of the new resolution, [N, C, H, W].
        alpha: weight of the new resolution, a scalar tensor.
    """
    return fade(upscale2(downscale2(x)), x, alpha)


def fade(old: Tensor, new: Tensor, alpha: Tensor) -> Tensor:
    """Mix ``old`` and ``new`` linearly; 0 gives ``old``, 1 gives ``new``.

    In at least float32: bfloat16 has no number between 1 - 1/256 and 1, and a small part would be lost in the sum.
    """
    old, new = at_least_float32(old), at_least_float32(new)
    return torch.lerp(old, new, alpha.to(new.dtype))


def at_least_float32(x: Tensor) -> Tensor:
    """Convert 16-bit floats to float32; leave other dtypes as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Return the mean standard deviation of the features over groups of samples (ProGAN section 3).

    Sample i belongs to group ``i mod (N / group)``, so that groups stay whole if samples are dealt out in turn to ranks
    or micro-batches.

    Args:
        group: number of samples in a group; N if that is smaller.

    Shape: [N, C, H, W] -> [N, 1, H, W], one number per group, tiled.

    Raises:
        ValueError: if N is not a multiple of the group.
    """
    n, _, height, width = x.shape
    group, groups = stddev_groups(n, group)
    y = at_least_float32(x).unflatten(0, (group, groups))  # [G, M, C, H, W]
    y = (y.var(0, correction=0) + 1e-8).sqrt()  # [M, C, H, W]; 1e-8 keeps the gradient finite for equal samples
    y = y.mean((1, 2, 3)).repeat(group)  # [M] -> [G * M] = [N]
    return y.to(x.dtype).view(n, 1, 1, 1).expand(n, 1, height, width)


def stddev_groups(batch: int, group: int) -> tuple[int, int]:
    """Return size and number of the stddev groups of a batch.

    Raises:
        ValueError: if ``batch`` is not a multiple of the group.

    >>> stddev_groups(16, 4), stddev_groups(3, 16)
    ((4, 4), (3, 1))
    """
    group = min(group, batch)
    if batch % group:
        raise ValueError(f"batch size {batch} is not a multiple of the stddev group {group}")
    return group, batch // group


def pixel_norm(x: Tensor) -> Tensor:
    """Scale the features of every pixel to length sqrt(C): ``x / sqrt(mean_c(x^2) + 1e-8)`` (ProGAN section 4.2).

    Shape: [N, C] or [N, C, H, W], unchanged; computed in at least float32, dtype unchanged.
    """
    return _PixelNorm.apply(x)  # type: ignore[return-value]


class _PixelNorm(torch.autograd.Function):
    """Pixel norm with its derivative written out: half the passes over memory of the composed one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x * _inverse_length(x)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), gradient = ctx.saved_tensors, gradients[0]
        inverse = _inverse_length(x)
        along = torch.linalg.vecdot(gradient.to(inverse.dtype), x.to(inverse.dtype), dim=1).unsqueeze(1)
        along = along * inverse.square() / x.shape[1]
        return (torch.addcmul(gradient.to(inverse.dtype), x.to(inverse.dtype), along, value=-1) * inverse).to(x.dtype)


def _inverse_length(x: Tensor) -> Tensor:
    """1 / sqrt(mean_c(x^2) + 1e-8), in at least float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
    return torch.rsqrt(length.square() / x.shape[1] + 1e-8)


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Return a context in which autocast is off on the device of ``x``."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def hashed_uniform(seeds: Tensor, width: int) -> Tensor:
    """Return uniform numbers in [0, 1), computed on the device from two random numbers for each sample.

    They are good enough for dropout masks, and much cheaper than as many draws: 32-bit integers are mixed as in
    MurmurHash3's finalizer (Appleby 2011).

    Args:
        seeds: random numbers in [0, 1), float32 [N, 2].
        width: numbers for each sample.

    Shape: [N, 2] -> float32 [N, width], multiples of 2^-24.
    """
    start, later = (seeds * 2**24).to(torch.int32).unsqueeze(2).unbind(1)  # [N, 1] each
    x = torch.arange(1, width + 1, dtype=torch.int32, device=seeds.device) * -1640531527 ^ start  # 2^32 / golden ratio
    for shift, factor in ((16, -2048144789), (13, -1028477387)):
        x.bitwise_xor_((x >> shift).bitwise_and_((1 << 32 - shift) - 1)).mul_(factor).add_(later)
    x.bitwise_xor_(x >> 16)
    return x.bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def hashed_normal(seeds: Tensor, width: int) -> Tensor:
    """Return numbers from N(0, 1), computed on the device from two random numbers for each sample (Box-Muller).

    Shape: [N, 2] -> float32 [N, width].
    """
    radius, angle = hashed_uniform(seeds, width + width % 2).chunk(2, dim=1)
    radius, angle = torch.sqrt(-2 * torch.log1p(-radius)), 2 * math.pi * angle
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 1)[:, :width]
