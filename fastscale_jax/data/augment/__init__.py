"""Augmentation on the device: pixels in, pixels and soft labels out."""
