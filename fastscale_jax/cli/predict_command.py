"""`fastscale predict`: predicts the classes of images."""

import dataclasses
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fastscale_jax.cli.options import (
    Config,
    OptionalPath,
    Output,
    Session,
    Whole,
    check_amount,
    run_of,
)
from fastscale_jax.utils.console import (
    OK,
    STDIN,
    USAGE_ERROR,
    complain,
    print_table,
    printable,
)
from fastscale_jax.utils.paths import at_home

if TYPE_CHECKING:
    from fastscale_jax.interop.prediction import File, Read

# empty paths are dropped
Inputs = Annotated[
    tuple[str, ...] | None,
    Parameter(
        n_tokens=-1,
        converter=lambda _, tokens: tuple(t.value for t in tokens if t.value) or None,
    ),
]
_STDIN = "-"  # name of stdin in the output
_PER_TABLE = 256  # predictions; one table of a million images would fill the memory


def predict(
    input: Inputs = None,  # noqa: A002 # the flag's name
    *,
    config: Config = None,
    workdir: OptionalPath = None,
    top: Whole = 5,
    embed: OptionalPath = None,
    format: Output = "table",  # noqa: A002 # likewise
    session: Session = Session(),
) -> int:
    """Prints the predicted classes of images. Returns the exit status.

    Args:
        input: Images, and folders of images, read recursively; - is an image on stdin.
        config: a recipe.
        workdir: Folder of a run; its latest checkpoint is used. Without a checkpoint, the weights
            of --config.init_from are used.
        top: Number of most likely classes to print per image.
        embed: File for the images' feature vectors (inputs of the classifier), as in vectors.npy.
            The images' names are written beside it, as in vectors.json. No classes are printed.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.interop import prediction, vectors
    from fastscale_jax.models import build
    from fastscale_jax.runs.start import images_of, load_for

    check_amount("top", top, 1)
    output = at_home(embed) if embed else None
    if output:
        vectors.check_vectors_file(output)
    run = run_of(config, workdir)
    if not run.network.num_classes and not output:
        raise ValueError("the network has no classifier; --embed=FILE.npy writes its vectors")
    files = _files([input] if isinstance(input, (str, os.PathLike)) else input or ())
    run, weights = load_for(run)
    recipe = run.recipe
    model = build(run.network, dtype=recipe.dtype, grouped_conv=recipe.grouped_conv)
    images = images_of(run, weights)
    origin = {"network": run.network.name, "weights": weights.account}
    read = _reader(exif=images.exif, max_pixels=recipe.data.max_pixels)
    arguments = model, weights.variables, files, images.conventions
    if output:
        seen = _Seen(prediction.embed(*arguments, read=read))
        _print_written(origin, output, *vectors.write_vectors(output, seen), format)
    else:
        seen = _Seen(prediction.predict(*arguments, images.classes, top=top, read=read))
        (_print_json if format == "json" else _print_tables)(origin, seen)
    return USAGE_ERROR if seen.problems else OK


@dataclasses.dataclass
class _Seen:
    """The outputs of readable images; unreadable ones are reported on stderr and counted."""

    outputs: Iterator[Any]
    problems: int = 0

    def __iter__(self) -> Iterator[Any]:
        for output in self.outputs:
            if output.problem:
                self.problems += 1
                complain(output.problem)
            else:
                yield output


def _files(inputs: Sequence[str | os.PathLike[str]]) -> "list[File]":
    """The images in the order of the arguments; those of a folder sorted by name."""
    from fastscale_jax.data.sources.image_files import PassedOver, find_images

    names = [os.fspath(name) for name in inputs]
    if not names:
        raise ValueError("predict needs --input: an image, or a folder of images")
    if sum(name in (_STDIN, STDIN) for name in names) > 1:
        raise ValueError("- is given twice, but stdin has one image; give it once")
    passed_over, files = PassedOver(), []
    for name in names:
        is_stdin = name in (_STDIN, STDIN)
        files += [_STDIN] if is_stdin else find_images(at_home(name), passed_over)
    if passed_over:
        complain(f"passed over {passed_over}")
    return files


def _reader(*, exif: bool, max_pixels: int) -> "Read":
    from fastscale_jax.data.sources.images import most_bytes, read_image

    def read(file: "File") -> Any:
        content = _stdin(most_bytes(max_pixels)) if file == _STDIN else None
        return read_image(file, content, exif=exif, max_pixels=max_pixels)

    return read


def _stdin(most: int) -> bytes:
    """All of stdin; of a longer input `most` + 1 bytes, which the reader refuses as too large."""
    if sys.stdin.isatty():
        raise ValueError("- reads an image from stdin, but stdin is a terminal; add < photo.jpg")
    content = sys.stdin.buffer.read(most + 1)
    if not content:
        raise ValueError("- reads an image from stdin, but stdin is empty; add < photo.jpg")
    return content


def _print_json(origin: dict[str, str], predictions: Iterable[Any]) -> None:
    """Prints one JSON object, prediction by prediction as they arrive."""
    from fastscale_jax.interop.prediction import describe

    print(json.dumps({**origin, "predictions": []}).removesuffix("]}"), end="")
    for i, prediction in enumerate(predictions):
        print(", " * (i > 0) + json.dumps(describe(prediction)), end="")
    print("]}")


def _print_tables(origin: dict[str, str], predictions: Iterable[Any]) -> None:
    from fastscale_jax.interop.prediction import predictions_table

    waiting, is_first = iter(predictions), True
    while part := list(itertools.islice(waiting, _PER_TABLE)):
        if is_first:
            print(printable(f"{origin['network']}, weights from {origin['weights']}"))
        print_table(predictions_table(part))
        is_first = False


def _print_written(
    origin: dict[str, str], output: pathlib.Path, images: int, channels: int, kind: str
) -> None:
    from fastscale_jax.interop.vectors import names_beside

    files = {"vectors": str(output), "names": str(names_beside(output))} if images else {}
    if kind == "json":
        print(json.dumps({**origin, **files, "images": images, "channels": channels}))
    elif images:
        print(printable(f"{origin['network']}, weights from {origin['weights']}"))
        shape = f"{images:,} x {channels:,} float32"
        print(printable(f"{output}: {shape}; names of the images: {files['names']}"))
