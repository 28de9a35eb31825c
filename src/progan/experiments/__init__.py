"""Experiments of the papers: every table and figure as a value that names presets and metrics."""

from progan.experiments import family, paper, tricks
from progan.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "table1_celeba": paper.TABLE1_CELEBA,
    "table1_bedroom": paper.TABLE1_BEDROOM,
    "table2": paper.TABLE2,
    "table3": paper.TABLE3,
    "table4": paper.TABLE4,
    "figure4": paper.FIGURE4,
    "figure4c": paper.FIGURE4C,
    "figure10": paper.FIGURE10,
    "celebahq_1024": paper.CELEBAHQ,
    "lsun": paper.LSUN,
    "family_mnist": family.FAMILY_MNIST,
    "family_wgan": family.FAMILY_WGAN,
    "family_faces": family.FAMILY_FACES,
    "tricks_mnist": tricks.TRICKS_MNIST,
}
"""Every table and figure by its name in 'progan reproduce NAME'."""
