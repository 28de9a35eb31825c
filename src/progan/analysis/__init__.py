"""What a trained network has learned, image by image."""
