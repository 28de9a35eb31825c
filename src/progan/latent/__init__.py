"""Walks through the space of latents, and videos of them."""
