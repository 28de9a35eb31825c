"""Metrics of generated images, each with its paper's definition; METRICS lists all of them (see ``base``)."""

from progan.metrics.bank import FeatureBank
from progan.metrics.base import Metric
from progan.metrics.digits import DigitHistogram, mode_count
from progan.metrics.inception_score import inception_score
from progan.metrics.kernel import kernel
from progan.metrics.moments import Moments, frechet
from progan.metrics.ms_ssim import PairSimilarity, mean_similarity
from progan.metrics.precision_recall import precision_recall
from progan.metrics.swd import SlicedPatches, swd

FEW = "no more images than features: the covariance has no full rank, and the value is far too high"

METRICS: dict[str, Metric] = {
    "swd": Metric(
        title="sliced Wasserstein distance x 1e3",
        on="images",
        statistic=SlicedPatches,
        compute=swd,
        takes_long=True,
        compares=True,
        key="swd",
        higher_is_better=False,
        paper_count=16_384,
        smallest=16,
        equal_counts=True,
        cacheable=False,
    ),
    "ms_ssim": Metric(
        title="mean similarity of pairs (MS-SSIM)",
        on="images",
        statistic=PairSimilarity,
        compute=mean_similarity,
        compares=False,
        key="ms_ssim",
        higher_is_better=None,
        paper_count=20_000,
        least=4,
    ),
    "fid": Metric(
        title="Frechet Inception distance",
        on="features",
        extractor="inception",
        statistic=Moments,
        compute=frechet,
        names={"frechet": "fid"},
        compares=True,
        key="fid",
        higher_is_better=False,
        paper_count=50_000,
        few_note=FEW,
    ),
    "kid": Metric(
        title="kernel Inception distance",
        on="features",
        extractor="inception",
        statistic=FeatureBank,
        compute=kernel,
        names={"kernel": "kid", "kernel_std": "kid_std"},
        compares=True,
        key="kid",
        higher_is_better=False,
        paper_count=50_000,
    ),
    "inception": Metric(
        title="Inception score",
        on="probabilities",
        extractor="inception",
        statistic=FeatureBank,
        compute=inception_score,
        compares=False,
        key="inception_score",
        higher_is_better=True,
        paper_count=50_000,
        least=10,
    ),
    "precision_recall": Metric(
        title="improved precision and recall",
        on="features",
        extractor="inception",
        statistic=FeatureBank,
        compute=precision_recall,
        takes_long=True,
        compares=True,
        key="precision",
        higher_is_better=True,
        paper_count=50_000,
        least=4,
    ),
    "fd_lite0": Metric(
        title="Frechet distance of EfficientNet-Lite0 features (not FID)",
        on="features",
        extractor="efficientnet_lite0",
        statistic=Moments,
        compute=frechet,
        names={"frechet": "fd_lite0"},
        compares=True,
        key="fd_lite0",
        higher_is_better=False,
        paper_count=50_000,
        few_note=FEW,
    ),
    "kd_lite0": Metric(
        title="kernel distance of EfficientNet-Lite0 features (not KID)",
        on="features",
        extractor="efficientnet_lite0",
        statistic=FeatureBank,
        compute=kernel,
        names={"kernel": "kd_lite0", "kernel_std": "kd_lite0_std"},
        compares=True,
        key="kd_lite0",
        higher_is_better=False,
        paper_count=50_000,
    ),
    "pr_lite0": Metric(
        title="improved precision and recall of EfficientNet-Lite0 features",
        on="features",
        extractor="efficientnet_lite0",
        statistic=FeatureBank,
        compute=precision_recall,
        takes_long=True,
        names={"precision": "precision_lite0", "recall": "recall_lite0"},
        compares=True,
        key="precision_lite0",
        higher_is_better=True,
        paper_count=50_000,
        least=4,
    ),
    "modes": Metric(
        title="modes of three digits, and KL to uniform (MNIST-1K)",
        on="digits",
        extractor="digits",
        statistic=DigitHistogram,
        compute=mode_count,
        compares=False,
        key="modes",
        higher_is_better=True,
        paper_count=25_600,
    ),
}
"""Every metric by its name on the command line. Those on EfficientNet-Lite0 need no download; they are no FID, KID or
precision and recall in the papers' sense, so their names differ."""
