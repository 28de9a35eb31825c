"""What a trained network has learnt, looked at image by image."""
