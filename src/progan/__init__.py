"""Progressive Growing of GANs."""
