"""Points of the plane for teaching: known distributions, the modes that a GAN covers, and films of its training."""
