"""Sources of images, batches, and augmentation."""
