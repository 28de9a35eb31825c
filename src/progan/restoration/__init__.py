"""The two networks that improve photographs for CelebA-HQ (ProGAN appendix C), and their application."""
