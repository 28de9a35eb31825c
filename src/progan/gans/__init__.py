"""One file for each paper's GAN; base.py is the contract between them and the training loop."""

from progan.gans.progressive import ProGANConfig

GANS = {"progan": ProGANConfig}
