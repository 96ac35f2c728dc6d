"""A set of photographs for TFDS to prepare, from no other place than memory."""

import io
import pathlib

import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]

from tests.data.photos import CLASSES, encoded, photo

TRAIN_IMAGES, TEST_IMAGES = 21, 5


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
    """Photographs that are labelled by their number, in turns."""

    junk = ()  # the numbers of images that are none
    has_labels = True
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            "train": self._generate_examples(TRAIN_IMAGES),
            "test": self._generate_examples(TEST_IMAGES),
        }

    def _generate_examples(self, count):
        for i in range(count):
            content = b"no pixels" if i in self.junk else encoded(photo(i, 60 + i, 80))
            label = i % 2 if self.has_labels else -1
            yield i, {"image": io.BytesIO(content), "label": label, "file_name": f"{i}.jpg"}


class TinyJunk(TinyPhotos):
    """The same, where some are damaged."""

    junk = (3, 7)
    VERSION = TinyPhotos.VERSION


class TinyUnlabelled(TinyPhotos):
    """The same without labels, as the test sets of competitions."""

    has_labels = False
    VERSION = TinyPhotos.VERSION


class TinyFiles(TinyPhotos):
    """The same in several files, not all of the same number of records."""

    VERSION = TinyPhotos.VERSION


def prepare(root: pathlib.Path) -> None:
    """Writes the sets where `tfds_name`, `tiny_photos` and so on, finds them."""
    for builder in (TinyPhotos, TinyJunk, TinyUnlabelled):
        builder(data_dir=root).download_and_prepare()
    in_files = tfds.download.DownloadConfig(num_shards=5)
    TinyFiles(data_dir=root).download_and_prepare(download_config=in_files)
