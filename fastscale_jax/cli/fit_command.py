"""`fastscale fit`: fits a device model to the results of `fastscale curves`."""

import re
from typing import Literal

from fastscale_jax.cli.options import Path
from fastscale_jax.measure import points
from fastscale_jax.measure.fitted import folder
from fastscale_jax.utils.console import OK, USAGE_ERROR, complain
from fastscale_jax.utils.whole_file import write_text


def fit(
    *,
    results: Path,
    framework: Literal["jax", "torch", "torch-compile"] = "jax",
    name: str = "",
) -> int:
    """Fits a device model to measured step times, and saves it. Returns the exit status.

    Args:
        results: A results file of `fastscale curves`.
        framework: Framework whose times are fitted.
        name: Name to save the model under. Set FASTSCALE_DEVICE to this name to use the model.
    """
    from rich.console import Console

    from fastscale_jax.measure.fit import RELIABLE, fit_table, fitted

    try:
        if name and not re.fullmatch(r"[\w][\w.-]*", name):
            raise ValueError(f"--name={name} must be of letters, digits, dots and dashes")
        if not results.exists():
            raise ValueError(f"there is no file {results}; fastscale curves makes one")
        model = fitted(points.read(results), framework, name)
        path = folder() / f"{model.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, model.as_json())
    except OSError as error:
        complain(f"{error.filename or folder()}: {error.strerror}")
        return USAGE_ERROR
    Console().print(fit_table(model))
    print(f"saved as {path}")
    off = max(fit.typical_error for fit in model.step_ms.values())
    if off > RELIABLE:
        complain(
            f"the fit's typical error is {off:.0%}, which is too much to rely on; measure more "
            "points, or on a quieter machine"
        )
    return OK
