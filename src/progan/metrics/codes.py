"""What codes of images are worth for telling their classes apart: errors of categories, and nearest neighbors."""

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 22  # distances, or numbers of candidates, in hand at a time
_ROUNDING = 2.0**-24  # largest relative rounding error of a float32


def error_rate(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of predictions that differ from the labels.

    Shape: int64 [N], int64 [N].
    """
    return float(np.mean(predictions != labels))


def label_by_peak(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a class for each cluster: that of the image with the highest probability of the cluster.

    AAE, section 5. Of equal probabilities, the first image counts.

    Shape: [N, K], int64 [N] -> int64 [K].
    """
    return labels[probabilities.argmax(0)]


def label_by_majority(predictions: np.ndarray, labels: np.ndarray, clusters: int) -> np.ndarray:
    """Return a class for each cluster: the most frequent one of its images; -1 for a cluster without images.

    The share of images that have the class of their own cluster is purity (Manning, Raghavan and Schuetze 2008,
    section 16.3). Of equally frequent classes, the first counts.

    Shape: int64 [N], int64 [N] -> int64 [clusters].
    """
    counts = np.zeros((clusters, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (predictions, labels), 1)
    return np.where(counts.any(1), counts.argmax(1), -1)


def nearest(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the number of the nearest point to each query, by Euclidean distance; of equally near ones, the first.

    Exact: distances of float64 decide among all points that may be nearest in spite of the rounding errors of float32.

    Shape: float32 [N, F], float32 [M, F] -> int64 [N].
    """
    x, y = torch.from_numpy(queries), torch.from_numpy(points)
    center = y.mean(0, dtype=torch.float64).float()
    scale = max(float((x - center).abs().max()), float((y - center).abs().max())) or 1.0
    small = (y - center) / scale  # of a size at which float32 neither overflows nor loses what differs
    norms = small.square().sum(1)
    found = []
    for some in x.split(max(1, _BLOCK // len(y))):
        rows, columns = _candidates((some - center) / scale, small, norms).nonzero(as_tuple=True)
        pairs = zip(*(part.split(max(1, _BLOCK // y.shape[1])) for part in (rows, columns)), strict=True)
        far = torch.cat([(some[i].double() - y[j].double()).square().sum(1) for i, j in pairs])
        least = torch.full((len(some),), torch.inf, dtype=far.dtype).scatter_reduce(0, rows, far, "amin")
        columns = columns.where(far == least[rows], len(y))
        found.append(torch.full((len(some),), len(y)).scatter_reduce(0, rows, columns, "amin"))
    return torch.cat(found).numpy()


def _candidates(x: Tensor, y: Tensor, norms: Tensor) -> Tensor:
    """Whether a point may be the nearest, bool [N, M]: all that rounding errors of float32 do not exclude.

    ``norms`` are the squared norms of y [M].
    """
    near = torch.addmm(x.square().sum(1)[:, None] + norms, x, y.T, alpha=-2)
    reach = x.norm(dim=1) + norms.max().sqrt()
    error = (x.shape[1] + 16) * _ROUNDING * reach.square()  # of a sum of F products, and of what was rounded before
    return near <= (near.amin(1) + 4 * error)[:, None]
