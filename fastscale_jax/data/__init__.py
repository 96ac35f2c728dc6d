"""Data: sources of images, batches, and augmentation."""
