"""Training of the digit classifier that metrics use, on MNIST."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from progan import draws
from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.data.store import Store
from progan.errors import DataError
from progan.metrics.digits import DigitClassifier

_BATCH = 64
_PEAK_LR = 0.05
_ROTATION, _SCALE, _SHEAR, _SHIFT = math.radians(12), 0.1, 0.15, 2 / 16  # largest ones; 16 pixels are half an image


def train_digit_classifier(source: Path, out: Path, *, seed: int = 0, progress: bool = True, epochs: int = 8) -> float:
    """Train the classifier, evaluate it on the test images and save it.

    The file is the same for the same seed and number of threads.

    Args:
        source: folder with the idx files of MNIST: training and test images with labels.
        out: safetensors file to write.
        seed: seed of the initial weights, the image order and the distortions.
        progress: whether to show progress bars.
        epochs: number of times each training image is shown, each time slightly rotated, sheared, scaled and shifted.

    Returns:
        Error rate on the test images.

    Raises:
        DataError: if the source does not contain labeled training and test images.
    """
    train, test = _open(source, progress=progress)
    network = _initial(seed)
    _fit(network, *_tensors(train), seed=seed, progress=progress, epochs=epochs)
    error = _test_error(network.eval(), *_tensors(test))
    network.save(out, test_error=error, data=train.hash, test_data=test.hash, seed=seed, epochs=epochs)
    return error


def _open(source: Path, *, progress: bool) -> tuple[Store, Store]:
    """Open the training and the test images as stores."""
    try:
        train, test = (
            cached(source, PrepareOptions(resolution="32", split=split, channels=1), progress=progress)
            for split in ("train", "test")
        )
    except DataError as error:
        if "--split test: no effect" not in str(error):
            raise
        raise _no_digits(source, "only one set of images") from error
    if train.hash == test.hash:
        raise _no_digits(source, "only one set of images")
    if not len(train.classes) == len(test.classes) == 10 or train.channels != 1:
        raise _no_digits(source, f"{len(train.classes)} classes")
    return train, test


def _no_digits(source: Path, found: str) -> DataError:
    return DataError(
        f"{source}: expected training and test images of ten digits\n"
        f"  found: {found}\n"
        f"  fix:   name the folder with the four idx files of MNIST"
    )


def _tensors(store: Store) -> tuple[Tensor, Tensor]:
    """Return images, uint8 [N, 1, 32, 32], and labels, int64 [N]."""
    return torch.from_numpy(np.array(store.level(32))).movedim(3, 1), torch.as_tensor(store.labels())


def _initial(seed: int) -> DigitClassifier:
    """Initialize weights as He et al. without the global random generator."""
    network = DigitClassifier()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                normal = draws.normal(seed, f"digits {name}", 0, 1, weight.numel()).reshape(weight.shape)
                weight.copy_(torch.from_numpy(normal) * math.sqrt(2 / weight[0].numel()))
        network.head.bias.zero_()
    return network


def _fit(network: DigitClassifier, images: Tensor, labels: Tensor, *, seed: int, progress: bool, epochs: int) -> None:
    """Train with Nesterov SGD, a one-cycle learning rate (Smith and Topin 2017) and label smoothing."""
    batch = min(_BATCH, len(images))
    steps = len(images) // batch
    sgd = torch.optim.SGD(network.parameters(), lr=_PEAK_LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, _PEAK_LR, total_steps=epochs * steps, pct_start=0.2)
    total, hidden = epochs * steps * batch, None if progress else True
    with tqdm(total=total, unit=" images", desc="train digits", unit_scale=True, disable=hidden) as bar:
        for epoch in range(epochs):
            order = torch.from_numpy(draws.permutation(seed, "digits order", epoch, len(images)))
            for step in range(steps):
                rows = order[step * batch : (step + 1) * batch]
                x = _distorted(images[rows].float() / 255, seed, (epoch * steps + step) * batch)
                loss = F.cross_entropy(network.logits(x), labels[rows], label_smoothing=0.1)
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                cycle.step()
                bar.update(batch)


def _distorted(x: Tensor, seed: int, first: int) -> Tensor:
    """Rotate, shear, scale and shift images [N, 1, H, W] at random; ``first`` is the number of images before."""
    u = torch.from_numpy(draws.uniform(seed, "digits distortion", first, len(x), 6)).float() * 2 - 1
    angle, shear = u[:, 0] * _ROTATION, u[:, 1] * _SHEAR
    width, height = 1 + _SCALE * u[:, 2], 1 + _SCALE * u[:, 3]
    cos, sin = angle.cos(), angle.sin()
    rows = [width * cos, width * (shear * cos - sin), u[:, 4] * _SHIFT]
    rows += [height * sin, height * (shear * sin + cos), u[:, 5] * _SHIFT]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@torch.no_grad()
def _test_error(network: DigitClassifier, images: Tensor, labels: Tensor) -> float:
    read = torch.cat([network.logits(part.float() / 255) for part in images.split(500)]).argmax(1)
    return (read != labels).double().mean().item()
