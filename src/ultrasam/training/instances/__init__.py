"""Instance segmentation: Mask2Former on one of our encoders, its data, its training and its answers."""
