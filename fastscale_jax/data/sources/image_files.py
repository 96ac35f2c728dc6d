"""Which files are images: by their names, and below a folder. None is opened."""

import collections
import functools
import importlib.util
import os
import pathlib
from collections.abc import Iterator

from PIL import features

_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
# what must be installed for others to be read
_NEEDS = {
    ".avif": "a Pillow that reads AVIF",
    ".heic": "pip install pillow-heif",
    ".heif": "pip install pillow-heif",
}
# folders and files that systems and programs leave beside images, lower-case
_SYSTEM = (
    *("@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found"),
    *("system volume information", "desktop.ini", "thumbs.db"),
)
# one and several, as in "1 hidden file"
_KINDS = _NO_IMAGE, _UNKNOWN, _OUTSIDE, _HIDDEN_FILE, _HIDDEN_FOLDER, _LOOP, _CLOSED = (
    ("file that is no image", "files that are no images"),
    ("image that cannot be read here", "images that cannot be read here"),
    ("file outside the class folders", "files outside the class folders"),
    ("hidden file", "hidden files"),
    ("hidden folder", "hidden folders"),
    ("link to a folder that it is in", "links to folders that they are in"),
    ("folder that cannot be read", "folders that cannot be read"),
)


class PassedOver:
    """What a listing left out, counted; as text, for people."""

    def __init__(self) -> None:
        """Starts with nothing."""
        self._counts: dict[tuple[str, str], collections.Counter[str]] = {}

    def add(self, kind: tuple[str, str], detail: str = "") -> None:
        """Counts one of a kind, which is named in singular and plural."""
        self._counts.setdefault(kind, collections.Counter())[detail] += 1

    def add_file(self, name: str, *, outside: bool = False) -> None:
        """Counts a file by its name; `outside` the folders of classes."""
        suffix = pathlib.PurePath(name).suffix.lower()
        if is_hidden(name):
            self.add(_HIDDEN_FILE)
        elif outside:
            self.add(_OUTSIDE)
        elif suffix in _NEEDS:
            self.add(_UNKNOWN, f"{suffix}: {_NEEDS[suffix]}")
        else:
            self.add(_NO_IMAGE, suffix or "no suffix")

    def add_folder(self) -> None:
        """Counts a hidden folder."""
        self.add(_HIDDEN_FOLDER)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        """As in `2 files that are no images (.txt, .mp4) and 1 hidden folder`."""
        kinds = [kind for kind in _KINDS if kind in self._counts]
        *parts, last = [self._part(kind) for kind in kinds] or ["nothing"]
        return f"{', '.join(parts)} and {last}" if parts else last

    def _part(self, kind: tuple[str, str]) -> str:
        counts = self._counts[kind]
        count = counts.total()
        details = sorted(filter(None, counts), key=lambda text: (-counts[text], text))
        more = ", …" if len(details) > 5 else ""
        described = f" ({', '.join(details[:5])}{more})" if details else ""
        return f"{count:,} {kind[count > 1]}{described}"


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Returns the suffixes of the images that can be read here, lower-case."""
    avif = (".avif",) if features.check("avif") else ()
    heif = (".heic", ".heif") if importlib.util.find_spec("pillow_heif") else ()
    return tuple(sorted((*_SUFFIXES, *avif, *heif)))


def is_image(name: str) -> bool:
    """Returns whether a file of this name, without its folder, is an image."""
    return name.lower().endswith(suffixes()) and not name.startswith(".")


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is no one's image: hidden, or a system's."""
    return name.startswith(".") or name.lower() in _SYSTEM


def image_files(folder: str | os.PathLike[str], passed_over: PassedOver) -> Iterator[bytes]:
    """Yields the image files below a folder, as the file system's bytes, in any order.

    Links are followed, except to a folder that the link is in.

    Args:
        folder: to look in.
        passed_over: counts what is left out.

    Raises:
        OSError: the folder cannot be read. Of folders in it, this is counted.
    """
    folders: list[tuple[str, tuple[os.stat_result, ...]]] = [(os.fspath(folder), ())]
    while folders:
        path, above = folders.pop()
        try:
            itself, entries = os.stat(path), os.scandir(path)
        except OSError:
            if not above:
                raise
            passed_over.add(_CLOSED)
            continue
        if any(os.path.samestat(itself, other) for other in above):
            entries.close()
            passed_over.add(_LOOP)
            continue
        with entries:
            for entry in entries:
                if _is_folder(entry):
                    if is_hidden(entry.name):
                        passed_over.add_folder()
                    else:
                        folders.append((entry.path, (*above, itself)))
                elif is_image(entry.name) and (entry.is_symlink() or entry.is_file()):
                    yield os.fsencode(entry.path)
                else:
                    passed_over.add_file(entry.name)


def find_images(path: pathlib.Path, passed_over: PassedOver) -> list[pathlib.Path]:
    """Returns the images at a path: a file, whatever its name, or all below a folder, sorted.

    Args:
        path: of a file or a folder.
        passed_over: counts what is left out of the folder.

    Raises:
        ValueError: there is nothing, or no image in the folder.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise ValueError(f"there is no image or folder {path}")
        files = sorted(pathlib.Path(os.fsdecode(file)) for file in image_files(path, passed_over))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not files:
        left_out = f"; passed over {passed_over}" if passed_over else ""
        raise ValueError(f"the folder {path} has no image ({', '.join(suffixes())}){left_out}")
    return files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
