"""Walks through the space of latents, and films of them."""
