"""TFDS's own mock data of CIFAR-10, in the files that TFDS would write."""

import pathlib

import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]

IMAGES = 24  # of each split


class MockCifar(tfds.core.GeneratorBasedBuilder):
    """CIFAR-10 as `tfds.testing.mock_data` makes it up."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        with tfds.testing.mock_data(num_examples=IMAGES):
            mocked = tfds.load("cifar10", split=split)
            for i, example in enumerate(mocked.as_numpy_iterator()):
                yield i, {"image": example["image"], "label": example["label"]}


def prepare(root: pathlib.Path) -> None:
    """Writes the set where `tfds_name`, `mock_cifar`, finds it."""
    MockCifar(data_dir=root).download_and_prepare()
