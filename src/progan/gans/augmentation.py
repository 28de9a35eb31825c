"""Differentiable augmentation of images, for discriminators that would otherwise memorize a small data set.

Real and generated images are augmented alike before the discriminator sees them, in its steps and in the generator's
(Zhao et al. 2020, DiffAugment; Karras et al. 2020, ADA). The generator then matches the distribution of augmented
images. It matches that of the images as well if no other distribution looks the same once augmented, that is, if
augmentation is an invertible operator on distributions: then it does not leak into generated images (ADA section 2.2).

Applying each kind with a probability p well below 1 ensures that. Of turned images, for example, a share of 1 - 3p/4
is upright and p/4 has each other orientation; upright images are the most frequent ones, and the operator's eigenvalues
are 1 and 1 - p. With p = 1, all orientations are equally frequent whatever those of the generated images are, so
nothing keeps the generator from turning its images: turns would leak, and so would flips. Operators that are invertible
one by one are invertible in sequence, as long as the order is fixed. Near p = 1 the inverse amplifies the error of
finite samples; ADA found leaks unlikely as long as p is below 0.8.

The kinds and their distributions are those of ADA's appendix B, with these differences:

- Brightness, contrast, saturation and hue are changed together with probability p, not each with its own; there are no
  luma flips.
- Translations are by whole pixels of equal probability, not rounded from a uniform number.
- Images are resampled bilinearly, without the low-pass filters of ADA, so that scaling blurs or aliases slightly.
- Non-square images turn by 180 degrees only.
- Normal numbers remain within 4.75 standard deviations.
- There are no rotations by other angles, anisotropic scaling, translations by fractions, filters or noise.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.ops import at_least_float32, no_autocast

Kind = Literal["flip", "turn", "translate", "scale", "color", "cutout"]
"""Kind of augmentation."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds, in the order in which they are applied."""

_COLUMNS: dict[Kind, slice] = {
    "flip": slice(0, 2),
    "turn": slice(2, 4),
    "translate": slice(4, 7),
    "scale": slice(7, 9),
    "color": slice(9, 14),
    "cutout": slice(14, 17),
}
"""Columns of the draws that each kind reads; the first one decides whether the kind is applied."""

NUMBERS = 17
"""Number of uniform numbers that one image uses."""

_FARTHEST = 8  # translation is by at most 1/8 of a side
_SCALE, _BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.2, 0.5, 1.0  # standard deviations; octaves, except of brightness
_CUTOUT = 0.5  # of each side
_NEAR = 1e-6  # closest that a uniform number comes to 0 and 1, whose normal quantiles are infinite

_Map = Callable[[Tensor], Tensor]


def augment(images: Tensor, draws: Tensor, p: Tensor | float, kinds: Sequence[Kind] = KINDS) -> Tensor:
    """Return augmented images; each kind is applied to each image with probability p.

    - flip: mirror left and right with probability 1/2.
    - turn: turn by 0, 90, 180 or 270 degrees; by 0 or 180 if the image is not square.
    - translate: move by whole pixels, at most 1/8 of each side.
    - scale: enlarge about the center by 2^N(0, 0.2^2).
    - color: add N(0, 0.2^2) to the brightness, then multiply the contrast by 2^N(0, 0.5^2), the saturation by
      2^N(0, 1), and rotate the hue by any angle about the axis of the grays. Gray images change in brightness and
      contrast only. Alpha is kept.
    - cutout: set a rectangle of half of each side, with its center anywhere in the image, to 0 in all channels.

    The first four are one affine map, and the image is reflected at its edges. Without scaling, the map moves whole
    pixels; values are then exact up to rounding of the positions, which is about 2^-24 of a side in float32. Pixels
    that no kind changes are returned bit for bit. Values are not clipped.

    The result for an image is a function of that image, its draws and p alone. Gradients flow to the images, and can be
    differentiated again.

    Args:
        images: pixels in about [-1, 1]; gray, gray with alpha, RGB or RGBA.
        draws: uniform numbers in [0, 1). Each kind always reads the same columns, whichever others are asked for.
        p: probability, a number or a scalar tensor on the device of the images.
        kinds: kinds to apply, in any order.

    Shape: images [N, C, H, W], draws [N, NUMBERS] -> [N, C, H, W], computed in at least float32; dtype and memory
    format of the images are kept.

    Raises:
        ValueError: if a kind is unknown, or if the draws have another shape.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"unknown kind of augmentation {unknown[0]!r}; choose from {', '.join(KINDS)}")
    if draws.shape != (len(images), NUMBERS):
        raise ValueError(f"draws must have the shape [{len(images)}, {NUMBERS}], got {list(draws.shape)}")
    x = at_least_float32(images)
    draws = draws.detach().to(torch.promote_types(draws.dtype, x.dtype))

    def drawn(kind: Kind) -> tuple[Tensor, ...]:
        """Return whether a kind is applied, bool [N], and its numbers, [N] each."""
        decides, *numbers = draws[:, _COLUMNS[kind]].unbind(1)
        return decides < (p if kind in kinds else 0), *numbers

    if not {"flip", "turn", "translate", "scale"}.isdisjoint(kinds):
        x = _move(x, _maps(drawn("flip"), drawn("turn"), drawn("translate"), drawn("scale"), *x.shape[2:]))
    if "color" in kinds:
        x = _recolor(x, *drawn("color"))
    if "cutout" in kinds:
        x = _cut_out(x, *drawn("cutout"))
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return x.to(images.dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _maps(
    flip: Sequence[Tensor],
    turn: Sequence[Tensor],
    translate: Sequence[Tensor],
    scale: Sequence[Tensor],
    height: int,
    width: int,
) -> Tensor:
    """Return affine maps [N, 2, 3] from places in the output to places in the input.

    Both have the center at 0 and the edges at -1 and 1, as in ``F.affine_grid``. The place is first scaled back, then
    moved back, turned back and mirrored.
    """
    mirror = torch.where(flip[0] & (flip[1] < 0.5), -1, 1)
    step = 1 if height == width else 2
    quarters = turn[0] * step * (turn[1] * (4 // step)).floor()  # counterclockwise
    cos, sin = (quarters - 2).abs() - 1, 1 - (quarters - 1).abs()  # exact
    x, y = (translate[0] * _steps(u, n) * (2 / n) for u, n in zip(translate[1:], (width, height), strict=True))
    shrink = torch.where(scale[0], _factor(scale[1], -_SCALE), 1)
    rows = [
        [mirror * cos * shrink, -mirror * sin * shrink, mirror * (sin * y - cos * x)],
        [sin * shrink, cos * shrink, -sin * x - cos * y],
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _steps(u: Tensor, side: int) -> Tensor:
    """Return whole numbers of pixels, uniform in -side/8 ... side/8."""
    most = side // _FARTHEST
    return (u * (2 * most + 1)).floor() - most  # the product is never rounded up to a factor that is odd


def _normal(u: Tensor) -> Tensor:
    """Return numbers of N(0, 1) from uniform ones."""
    return torch.special.ndtri(u.clamp(_NEAR, 1 - _NEAR))


def _factor(u: Tensor, octaves: float) -> Tensor:
    """Return 2^N(0, octaves^2) from uniform numbers."""
    return torch.exp(math.log(2) * octaves * _normal(u))  # the last bit of torch.exp2 depends on the place in the batch


def _move(x: Tensor, maps: Tensor) -> Tensor:
    """Resample images by affine maps [N, 2, 3]; those whose map is the identity are returned bit for bit."""
    moved = (maps != torch.eye(2, 3, dtype=maps.dtype, device=maps.device)).any(2).any(1)
    across, down, shift = maps.to(x.dtype)[..., None, None].unbind(2)  # [N, 2, 1, 1] each
    # As F.affine_grid, whose batched product of matrices takes longer than resampling; and never in TF32.
    grid = (shift + down * _places(x.shape[2], x)[:, None]) + across * _places(x.shape[3], x)  # [N, 2, H, W]
    grid = grid.permute(0, 2, 3, 1)

    def resample(x: Tensor) -> Tensor:
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def transposed(gradient: Tensor) -> Tensor:
        bilinear, reflection, align_corners, needed = 0, 2, False, (True, False)  # gradient of the images only
        backward = torch.ops.aten.grid_sampler_2d_backward  # needs the shape of the images, which is the gradient's
        return backward(gradient, gradient, grid, bilinear, reflection, align_corners, needed)[0]

    return _Selected.apply(x, moved, resample, transposed)  # type: ignore[return-value]


def _places(side: int, like: Tensor) -> Tensor:
    """Return the centers of pixels between edges at -1 and 1, [side]."""
    return (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1


class _Selected(torch.autograd.Function):
    """A linear map of the selected images, plus an offset; the other images are returned bit for bit.

    Its gradient is the transposed map, in fewer passes over memory than the gradient of ``torch.where`` takes, and can
    be differentiated again, as gradient penalties require.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, selected: Tensor, linear: _Map, transposed: _Map, offset: Tensor | None = None
    ) -> Tensor:
        ctx.save_for_backward(selected)
        ctx.linear, ctx.transposed = linear, transposed
        with no_autocast(x):  # also in a gradient that is computed under autocast
            y = linear(x)
        if offset is not None:
            y += offset
        return torch.where(selected[:, None, None, None], y, x, out=y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Selected.apply(gradients[0], *ctx.saved_tensors, ctx.transposed, ctx.linear), None, None, None, None


def _recolor(
    x: Tensor, applied: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """Change colors by a matrix: scale and rotate about the axis (1, 1, 1), then scale everything."""
    n, channels = x.shape[:2]
    colors = 1 if channels < 3 else 3  # the others are alpha
    factor = _factor(contrast, _CONTRAST)[:, None, None]
    offset = x.new_zeros(n, channels, 1, 1)
    offset[:, :colors, 0] = factor * _BRIGHTNESS * _normal(brightness)[:, None, None]
    if colors == 3:
        channel = torch.arange(3, dtype=factor.dtype, device=x.device)
        angle = 2 * math.pi * (hue[:, None, None] + (channel - channel[:, None]) / 3)  # [N, 3, 3]
        factor = factor / 3 * (1 + 2 * _factor(saturation, _SATURATION)[:, None, None] * angle.cos())
    matrix = torch.eye(channels, dtype=x.dtype, device=x.device).repeat(n, 1, 1)
    matrix[:, :colors, :colors] = factor

    def mix(x: Tensor) -> Tensor:
        return (matrix @ x.flatten(2)).unflatten(2, x.shape[2:])

    def transposed(gradient: Tensor) -> Tensor:
        return (matrix.mT @ gradient.flatten(2)).unflatten(2, gradient.shape[2:])

    return _Selected.apply(x, applied, mix, transposed, offset)  # type: ignore[return-value]


def _cut_out(x: Tensor, applied: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Set a rectangle to 0 whose center is given as shares of the width and the height."""
    columns, rows = (
        ((_places(n, center) + 1) / 2 - center[:, None]).abs() < _CUTOUT / 2
        for n, center in ((x.shape[3], across), (x.shape[2], down))
    )
    rows = (rows & applied[:, None]).to(x.dtype)
    kept = 1 - rows[:, None, :, None] * columns.to(x.dtype)[:, None, None, :]  # [N, 1, H, W]
    return x * kept
