"""Sources of images: digits, folders, CSV files, TensorFlow Datasets, noise, Python data."""
