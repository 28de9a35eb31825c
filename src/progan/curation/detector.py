"""Detection of faces and their five landmarks by a cascade of three small networks (MTCNN, Zhang et al. 2016)."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from progan.download import file_sha256
from progan.errors import ConfigError, DataError
from progan.weights import fitted, read_state, weight_hash

State = Mapping[str, Tensor]

_MIN_FACE = 20  # pixels; smaller faces are not detected
_SHRINK = 0.709  # from one level of the pyramid to the next, half the area
_CELL, _STRIDE = 12, 2  # pixels that one output of P-Net depends on, and from one output to the next
_SIDES = {"rnet": 24, "onet": 48}  # of the inputs of the other two networks [pixels]
_SCORES = {"pnet": 0.6, "rnet": 0.7, "onet": 0.7}  # least score of a face in each network
_OVERLAP, _OVERLAP_IN_LEVEL = 0.7, 0.5  # overlap above which two boxes are the same face
_POOLS = {"pnet": (2, 0, 0), "rnet": (3, 3, 0), "onet": (3, 3, 2, 0)}  # side of the maximum after each convolution
_SMALLEST_SHARE = 16  # faces below a 16th of the shorter side are not portraits: saves most of the pyramid
_MAPS = {  # layer: shape of its weight; a PReLU follows all but the heads, conv4_1, ... dense6_3
    "pnet": {"conv1": (10, 3, 3, 3), "conv2": (16, 10, 3, 3), "conv3": (32, 16, 3, 3)}
    | {"conv4_1": (2, 32, 1, 1), "conv4_2": (4, 32, 1, 1)},
    "rnet": {"conv1": (28, 3, 3, 3), "conv2": (48, 28, 3, 3), "conv3": (64, 48, 2, 2), "dense4": (128, 576)}
    | {"dense5_1": (2, 128), "dense5_2": (4, 128)},
    "onet": {"conv1": (32, 3, 3, 3), "conv2": (64, 32, 3, 3), "conv3": (64, 64, 3, 3), "conv4": (128, 64, 2, 2)}
    | {"dense5": (256, 1152), "dense6_1": (2, 256), "dense6_2": (4, 256), "dense6_3": (10, 256)},
}
_SHA256 = {  # of the files in facenet-pytorch 2.6.0
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}


class FaceDetector:
    """Detector of faces and their landmarks.

    Args:
        states: weights of "pnet", "rnet" and "onet", named conv1.weight, prelu1.weight, ... as in facenet-pytorch.

    Raises:
        DataError: if a tensor is missing, unexpected or of a different shape.
    """

    def __init__(self, states: Mapping[str, State]) -> None:
        self.states = {name: fitted(states[name], _shapes(name), Path(f"{name}.pt")) for name in _POOLS}
        self.hash = "-".join(weight_hash(dict(state)) for state in self.states.values())

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Return the landmarks of the largest face, float64 [5, 2] (x, y) in the order of ``POINTS``, or None.

        Args:
            image: uint8 [H, W, 3].
        """
        boxes, _, points = self.faces(image, min_face=max(_MIN_FACE, min(image.shape[:2]) / _SMALLEST_SHARE))
        return points[(boxes[:, 2] - boxes[:, 0]).argmax()].double().numpy() if len(boxes) else None

    def squares(self, image: np.ndarray, min_face: float) -> np.ndarray:
        """Return squares of at least ``min_face`` pixels around all faces: left, top, right, bottom, float64 [N, 4].

        Args:
            image: uint8 [H, W, 3].
            min_face: side of the smallest faces [pixels].
        """
        squares = _squares(self.faces(image, min_face=max(_MIN_FACE, min_face))[0])
        return squares[squares[:, 2] - squares[:, 0] >= min_face].double().numpy()

    @torch.no_grad()
    def faces(self, image: np.ndarray, *, min_face: float = _MIN_FACE) -> tuple[Tensor, Tensor, Tensor]:
        """Return all faces: boxes [N, 4] (left, top, right, bottom), scores [N] in 0.7 ... 1 and landmarks [N, 5, 2].

        Args:
            image: uint8 [H, W, 3].
            min_face: side of the smallest faces to detect [pixels].
        """
        sums = _sums(image)
        boxes = self._propose(sums, min_face)
        for name in ("rnet", "onet"):
            boxes = _squares(boxes)
            score, shift, *points = self._classify(name, _means(sums, boxes, _SIDES[name]))
            found = score > _SCORES[name]
            boxes, score, points = boxes[found], score[found], [p[found] for p in points]
            places = [boxes[:, None, :2] + p * (boxes[:, None, 2:] - boxes[:, None, :2]) - 0.5 for p in points]
            boxes = _shifted(boxes, shift[found])
            kept = suppress(boxes, score, _OVERLAP, of_smaller=name == "onet")
            boxes, score, points = boxes[kept], score[kept], [p[kept] for p in places]
        return boxes, score, points[0]

    def _propose(self, sums: Tensor, min_face: float) -> Tensor:
        """Return boxes [N, 4] that P-Net classifies as faces, over an image pyramid."""
        height, width = sums.shape[1] - 1, sums.shape[2] - 1
        scale, found = _CELL / min_face, [torch.zeros(0, 9)]
        while min(height, width) * scale >= _CELL:
            shape = int(np.ceil(height * scale)), int(np.ceil(width * scale))
            whole = torch.tensor([[0.0, 0, width, height]])
            logits, shift = self._pnet(_means(sums, whole, shape))
            score = logits.softmax(1)[0, 1]
            y, x = torch.nonzero(score > _SCORES["pnet"], as_tuple=True)
            corner = torch.stack([x, y], 1) * _STRIDE
            to_image = torch.tensor([width / shape[1], height / shape[0]])
            boxes = torch.cat([corner * to_image, (corner + _CELL) * to_image], 1)
            level = torch.cat([boxes, score[y, x, None], shift[0, :, y, x].T], 1)
            found.append(level[suppress(boxes, level[:, 4], _OVERLAP_IN_LEVEL)])
            scale *= _SHRINK
        proposals = torch.cat(found)
        proposals = proposals[suppress(proposals[:, :4], proposals[:, 4], _OVERLAP)]
        return _shifted(proposals[:, :4], proposals[:, 5:])

    def _pnet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = self.states["pnet"]
        x = _features(x, state, _POOLS["pnet"])
        return _conv(x, state, "conv4_1"), _conv(x, state, "conv4_2")

    def _classify(self, name: str, x: Tensor) -> list[Tensor]:
        """Apply R-Net or O-Net: score [N], shift of the box [N, 4] and, for O-Net, landmarks in the box [N, 5, 2]."""
        state, number = self.states[name], len(_POOLS[name]) + 1
        x = _features(x, state, _POOLS[name]).permute(0, 3, 2, 1).flatten(1)  # the weights count columns first
        x = F.prelu(_dense(x, state, f"dense{number}"), state[f"prelu{number}.weight"])
        score = _dense(x, state, f"dense{number + 1}_1").softmax(1)[:, 1]
        heads = [score, _dense(x, state, f"dense{number + 1}_2")]
        if f"dense{number + 1}_3.weight" in state:
            heads.append(_dense(x, state, f"dense{number + 1}_3").unflatten(1, (2, 5)).transpose(1, 2))
        return heads


def load_detector(folder: Path | None = None) -> FaceDetector:
    """Load the detector with the weights pnet.pt, rnet.pt and onet.pt of a folder, or those inside facenet-pytorch.

    Only the files of that package are read. It is not imported, and its dependencies are not required.

    Raises:
        ConfigError: if there are no weights.
        DataError: if a file differs from that of facenet-pytorch 2.6.0.
    """
    if folder is None:
        package = find_spec("facenet_pytorch")
        places = package.submodule_search_locations if package else None
        folder = Path(next(iter(places))) / "data" if places else None
    if folder is None or not all((folder / f"{name}.pt").is_file() for name in _POOLS):
        raise ConfigError(
            "no landmarks are given, and the weights of the face detector are not installed\n"
            "  fix:   pass --landmarks FILE, or run pip install --no-deps facenet-pytorch"
        )
    for name, wanted in _SHA256.items():
        if (found := file_sha256(folder / f"{name}.pt")) != wanted:
            raise DataError(
                f"{folder / name}.pt: not the file of facenet-pytorch 2.6.0\n"
                f"  found: SHA-256 {found}, expected {wanted}\n"
                f"  fix:   pip install --no-deps --force-reinstall facenet-pytorch==2.6.0"
            )
    return FaceDetector({name: read_state(folder / f"{name}.pt") for name in _POOLS})


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, shape in _MAPS[name].items():
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        if "_" not in layer:
            shapes[f"prelu{layer[-1]}.weight"] = shape[:1]
    return shapes


def suppress(boxes: Tensor, scores: Tensor, overlap: float, *, of_smaller: bool = False) -> Tensor:
    """Return positions of the boxes that remain after non-maximum suppression, best first.

    Args:
        boxes: left, top, right, bottom, [N, 4].
        scores: scores of the boxes, [N].
        overlap: a box is removed if its intersection with a better one exceeds this fraction of their union.
        of_smaller: whether to use the fraction of the smaller box instead of the union.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    alive, kept = torch.ones(len(boxes), dtype=torch.bool), []
    for i in range(len(boxes)):
        if alive[i]:
            kept.append(i)
            near, far = torch.maximum(boxes[i, :2], boxes[:, :2]), torch.minimum(boxes[i, 2:], boxes[:, 2:])
            common = (far - near).clamp(min=0).prod(1)
            whole = torch.minimum(area[i], area) if of_smaller else area[i] + area - common
            alive &= common <= overlap * whole
    return order[kept]


def _features(x: Tensor, state: State, pools: tuple[int, ...]) -> Tensor:
    for i, pool in enumerate(pools, 1):
        x = F.prelu(_conv(x, state, f"conv{i}"), state[f"prelu{i}.weight"])
        x = F.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
    return x


def _conv(x: Tensor, state: State, name: str) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _dense(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    """Move the four sides of boxes by fractions of their width and height."""
    return boxes + shift * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _squares(boxes: Tensor) -> Tensor:
    """Return the smallest squares that contain the boxes, with the same centers."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([center - half, center + half], 1)


def _sums(image: np.ndarray) -> Tensor:
    """Return sums of (image - 127.5) / 128 over all pixels above and left of each pixel corner, [3, H + 1, W + 1]."""
    pixels = (torch.tensor(image).permute(2, 0, 1).double() - 127.5) / 128
    return F.pad(pixels.cumsum(1).cumsum(2), (1, 0, 1, 0))


def _means(sums: Tensor, boxes: Tensor, shape: int | tuple[int, int]) -> Tensor:
    """Return each box as a small image of box means, [N, 3, h, w]; middle gray outside the image."""
    rows, columns = (shape, shape) if isinstance(shape, int) else shape
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * torch.arange(columns + 1) / columns  # edges, [N, w + 1]
    y = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * torch.arange(rows + 1) / rows
    (x0, px), (y0, py) = (_split(x, sums.shape[2] - 1), _split(y, sums.shape[1] - 1))
    upper, lower = (_lerp(sums, y0 + step, x0, px) for step in (0, 1))  # linear between corners: exact inside pixels
    at = upper + (lower - upper) * py[..., None]  # [3, N, h + 1, w + 1]
    total = at.diff(dim=2).diff(dim=3).transpose(0, 1)
    area = y.diff(dim=1)[:, None, :, None] * x.diff(dim=1)[:, None, None]
    return (total / area.clamp(min=1e-9)).float()


def _split(places: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Split positions, clamped to 0 ... length, into an integer part of at most length - 1 and a rest."""
    places = places.double().clamp(0, length)
    whole = places.long().clamp(max=length - 1)
    return whole, places - whole


def _lerp(sums: Tensor, rows: Tensor, columns: Tensor, part: Tensor) -> Tensor:
    left, right = (sums[:, rows[:, :, None], columns[:, None] + step] for step in (0, 1))
    return left + (right - left) * part[:, None]
