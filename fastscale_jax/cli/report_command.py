"""`fastscale report`: a page with every table and figure of the paper, and an explorer."""

import importlib.util
import pathlib
import tempfile

from fastscale_jax.cli.options import OptionalPath, Path, as_path
from fastscale_jax.utils.console import FAILURE, OK, complain
from fastscale_jax.utils.installation import pip_install

NEEDED = ("jinja2",)


def report(
    *,
    output: Path,
    results: str = "",
    study: OptionalPath = None,
    device: str | None = None,
    workdirs: str = "",
    programs: str = "",
    device_results: str = "",
) -> int:
    """Writes one page with every table and figure of the paper, and an explorer of networks.

    Costs are computed. Step times, trained networks and a device model are shown if their files are
    given. The folder gets `index.html`, which works offline and without other files; all tables as
    CSV; and all figures as SVG, PNG and CSV. Returns the exit status.

    Args:
        output: Folder to write to.
        results: Files of `fastscale curves`, with commas between.
        study: A JSON-lines file of trained networks, as from `fastscale study`.
        device: A model of `fastscale fit`: its file or name. Default: this machine's model, if it
            has exactly one.
        workdirs: Folders of runs, with commas between.
        programs: Files of `fastscale curves --target`, with commas between. The explorer adds them
            to its packaged programs.
        device_results: Files of `fastscale device`, with commas between.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        complain(f"{' and '.join(missing)} {are} not installed; {pip_install('report')}")
        return FAILURE
    from fastscale_jax.report import inputs
    from fastscale_jax.report.written import write

    contents = inputs.read(
        _paths(results), study, device, _paths(workdirs), _paths(programs), _paths(device_results)
    )
    _check_writable(output)
    try:
        write(contents, output)
    except OSError as error:
        complain(f"{error.filename or output} cannot be written: {error.strerror}")
        return FAILURE
    print(output / "index.html")
    return OK


def _paths(names: str) -> list[pathlib.Path]:
    return [as_path(name) for name in names.split(",") if name]


def _check_writable(folder: pathlib.Path) -> None:
    """Checks that a folder can be written, before anything is computed.

    Raises:
        ValueError: it cannot; the message has the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} cannot be written: {error.strerror}") from error
