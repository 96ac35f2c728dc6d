"""Finds image files by their names. No file is opened."""

import collections
import functools
import importlib.util
import os
import pathlib
import stat
from collections.abc import Iterator

from PIL import features

_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
# what must be installed to read other formats
_NEEDS = {
    ".avif": "a Pillow that reads AVIF",
    ".heic": "pip install pillow-heif",
    ".heif": "pip install pillow-heif",
}
# folders and files that systems and programs create beside images, in lower case
_SYSTEM = (
    *("@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found"),
    *("system volume information", "desktop.ini", "thumbs.db"),
)
# singular and plural, as in "1 hidden file"
_NO_IMAGE = "file that is no image", "files that are no images"
_UNKNOWN = "image that cannot be read here", "images that cannot be read here"
_OUTSIDE = "file outside the class folders", "files outside the class folders"
_DEVICE = "pipe, socket or device", "pipes, sockets or devices"
_HIDDEN_FILE = "hidden file", "hidden files"
_HIDDEN_FOLDER = "hidden folder", "hidden folders"
_LOOP = "link to a folder that it is in", "links to folders that they are in"
_AGAIN = "file or folder that is there already", "files and folders that are there already"
_NOWHERE = "link to nothing", "links to nothing"
_CLOSED = "folder that cannot be read", "folders that cannot be read"
# in the order of printing
_KINDS = (
    *(_NO_IMAGE, _UNKNOWN, _OUTSIDE, _DEVICE, _HIDDEN_FILE, _HIDDEN_FOLDER),
    *(_LOOP, _AGAIN, _NOWHERE, _CLOSED),
)


class PassedOver:
    """Counts the files and folders that a listing leaves out; `str` gives a text for users."""

    def __init__(self) -> None:
        """Starts empty."""
        self._counts: dict[tuple[str, str], collections.Counter[str]] = {}

    def add(self, kind: tuple[str, str], detail: str = "") -> None:
        """Counts one file or folder; `kind`: its name in singular and plural."""
        self._counts.setdefault(kind, collections.Counter())[detail] += 1

    def add_file(self, name: str, *, outside: bool = False) -> None:
        """Counts a file by its name; `outside`: it is not in a class folder."""
        suffix = pathlib.PurePath(name).suffix.lower()
        if is_hidden(name):
            self.add(_HIDDEN_FILE)
        elif outside:
            self.add(_OUTSIDE)
        elif suffix in _NEEDS:
            self.add(_UNKNOWN, f"{suffix}: {_NEEDS[suffix]}")
        else:
            self.add(_NO_IMAGE, suffix or "no suffix")

    def add_folder(self, *, is_loop: bool = False) -> None:
        """Counts a hidden folder, or a link that makes a loop."""
        self.add(_LOOP if is_loop else _HIDDEN_FOLDER)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        """For instance `2 files that are no images (.txt, .mp4) and 1 hidden folder`."""
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
    """Returns the suffixes of the readable image formats, in lower case."""
    avif = (".avif",) if features.check("avif") else ()
    heif = (".heic", ".heif") if importlib.util.find_spec("pillow_heif") else ()
    return tuple(sorted((*_SUFFIXES, *avif, *heif)))


def is_image(name: str) -> bool:
    """Returns whether a file of this name is an image; `name` is without its folder."""
    return name.lower().endswith(suffixes()) and not name.startswith(".")


def is_loop(entry: "os.DirEntry[str]") -> bool:
    """Returns whether a folder's entry is a link to that folder or to a parent of it."""
    if not entry.is_symlink():
        return False
    target, folder = (os.path.realpath(path) for path in (entry.path, os.path.dirname(entry.path)))
    return os.path.commonpath((target, folder)) == target


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is hidden, or a system's."""
    return name.startswith(".") or name.lower() in _SYSTEM


def image_files(folder: str | os.PathLike[str], passed_over: PassedOver) -> Iterator[bytes]:
    """Yields the paths of image files below a folder, each once, in the file system's encoding.

    Links are followed last, except links to a folder that contains the link, and to files and
    folders already visited. The order is the same for the same files.

    Args:
        folder: the folder to search.
        passed_over: counts what is left out.

    Raises:
        OSError: the folder cannot be read. Unreadable subfolders are only counted.
    """
    walk = _Walk(os.fspath(folder), passed_over)
    yield from walk.files(walk.top)
    while walk.links:  # following a link may add more links
        link = walk.links.popleft()
        yield from walk.followed(link)


class _Walk:
    """Walks the files below one folder, and stores what it has visited."""

    def __init__(self, top: str, passed_over: PassedOver) -> None:
        self.top = top
        self.links: collections.deque[str] = collections.deque()
        self._passed_over = passed_over
        self._seen: set[tuple[int, int]] = set()  # device and inode of folders and files
        itself = pathlib.Path(os.path.realpath(top))
        self._above = {_identity(os.stat(folder)) for folder in (itself, *itself.parents)}

    def files(self, folder: str, *, is_linked: bool = False) -> Iterator[bytes]:
        """Yields the images in a folder and its subfolders; stores links for later.

        Args:
            folder: the folder to search.
            is_linked: whether a link leads to it; then some of it may be visited already.
        """
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            try:
                status = os.stat(path)
                with os.scandir(path) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                if path == self.top:
                    raise
                self._passed_over.add(_CLOSED)
                continue
            if is_linked and _identity(status) in self._seen:
                self._passed_over.add(_AGAIN)
                continue
            self._seen.add(_identity(status))
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    if is_hidden(entry.name):
                        self._passed_over.add_folder()
                    else:
                        waiting.append(entry.path)
                elif entry.is_symlink():
                    self._keep(entry)
                elif is_image(entry.name) and entry.is_file():
                    # the listing already has the inode: this saves a system call
                    itself = status.st_dev, entry.inode()
                    if is_linked and itself in self._seen:
                        self._passed_over.add(_AGAIN)
                        continue
                    self._seen.add(itself)
                    yield os.fsencode(entry.path)
                else:
                    self._pass_over(entry.name, entry.is_file())

    def followed(self, link: str) -> Iterator[bytes]:
        """Yields the images behind a link, unless they are visited already."""
        try:
            status = os.stat(link)
        except OSError:  # its target is missing, or it is a link to itself
            self._passed_over.add(_NOWHERE)
            return
        is_folder, name = stat.S_ISDIR(status.st_mode), os.path.basename(link)
        if is_folder and _identity(status) in self._above:
            self._passed_over.add(_LOOP)
        elif _identity(status) in self._seen:
            self._passed_over.add(_AGAIN)
        elif is_folder:
            yield from self.files(link, is_linked=True)
        elif is_image(name) and stat.S_ISREG(status.st_mode):
            self._seen.add(_identity(status))
            yield os.fsencode(link)
        else:
            self._pass_over(name, stat.S_ISREG(status.st_mode))

    def _keep(self, link: "os.DirEntry[str]") -> None:
        if is_hidden(link.name):
            leads_to_folder = os.path.isdir(link.path)
            self._passed_over.add(_HIDDEN_FOLDER if leads_to_folder else _HIDDEN_FILE)
        else:
            self.links.append(link.path)

    def _pass_over(self, name: str, is_file: bool) -> None:
        if is_file:
            self._passed_over.add_file(name)
        else:
            self._passed_over.add(_DEVICE)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def find_images(path: pathlib.Path, passed_over: PassedOver) -> list[pathlib.Path]:
    """Returns the images at a path, sorted: a file of any name, or all images below a folder.

    Args:
        path: a file or a folder.
        passed_over: counts what is left out of the folder.

    Raises:
        ValueError: the path does not exist, or the folder has no image.
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
