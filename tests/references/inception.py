"""Synthetic weights and images for the Inception network, and TensorFlow 1's resize; plain numpy.

Run as a program in an environment that has torch-fidelity 0.4.0 and torch (it needs no torchvision) it writes the
numbers that torch-fidelity's network gives for them: python tests/references/inception.py tests/golden/NAME.json
"""

import importlib.util
import json
import sys
import types
import zlib
from pathlib import Path

import numpy as np

SIZES = (32, 128, 299, 320)  # sides of the images [pixels]


def tensor(name: str, shape: tuple[int, ...], seed: int = 2015) -> np.ndarray:
    """Weights of a name as torchvision and torch-fidelity use it, float32; activations stay near 1."""
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith("conv.weight"):
        value = noise * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        value = np.exp(0.3 * noise)
    elif name.endswith("bn.weight"):
        value = 1 + 0.1 * noise
    else:
        value = (0.02 if name == "fc.weight" else 0.1) * noise
    return value.astype(np.float32)


def images(side: int, count: int = 2, seed: int = 2015) -> np.ndarray:
    """Blocks of even color with a little noise, uint8 [count, 3, side, side]."""
    generator = np.random.default_rng([seed, side])
    blocks = generator.integers(0, 256, (count, 3, 8, 8)).repeat(side // 8 + 1, 2).repeat(side // 8 + 1, 3)
    noise = generator.integers(-20, 21, (count, 3, side, side))
    return (blocks[:, :, :side, :side] + noise).clip(0, 255).astype(np.uint8)


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize with align_corners=False, pixel by pixel; [H, W] float32 -> [side, side]."""
    height, width = image.shape
    result = np.empty((side, side), np.float32)
    for row in range(side):
        y = np.float32(row) * (np.float32(height) / np.float32(side))
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for column in range(side):
            x = np.float32(column) * (np.float32(width) / np.float32(side))
            left, right = int(x), min(int(x) + 1, width - 1)
            above = image[top, left] + (image[top, right] - image[top, left]) * (x - np.float32(left))
            below = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - np.float32(left))
            result[row, column] = above + (below - above) * (y - np.float32(top))
    return result


def _torch_fidelity() -> dict[str, dict[str, list[list[float]]]]:
    """Every 128th feature and every 63rd logit, and means of earlier layers, of each image of each size."""
    import torch

    package = types.ModuleType("torch_fidelity")  # without its __init__, which needs torchvision
    package.__path__ = importlib.util.find_spec("torch_fidelity").submodule_search_locations
    sys.modules["torch_fidelity"] = package
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    wanted = ["64", "192", "768", "2048", "logits_unbiased"]

    def synthetic(self: torch.nn.Module, *args: object, **kwargs: object) -> None:
        shapes = {name: value.shape for name, value in self.state_dict().items() if "num_batches" not in name}
        state = {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in shapes.items()}
        torch.nn.Module.load_state_dict(self, state, strict=False)

    Network.load_state_dict = synthetic
    torch.load = lambda *args, **kwargs: {}
    network = Network("inception", wanted, feature_extractor_weights_path="none")
    steps = {"64": 8, "192": 24, "768": 96, "2048": 128, "logits_unbiased": 63}
    result = {}
    for side in SIZES:
        with torch.no_grad():
            outputs = network(torch.from_numpy(images(side)))
        result[str(side)] = {
            name: [[float(f"{x:.7g}") for x in row] for row in value[:, :: steps[name]].tolist()]
            for name, value in zip(wanted, outputs, strict=True)
        }
    return result


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({"made by": "torch-fidelity 0.4.0", "sizes": _torch_fidelity()}, indent=1))
