"""One evaluation and one training pass of a network in Flax, and comparisons with another's."""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from fastscale_jax import arch, models
from fastscale_jax.interop import weights
from fastscale_jax.train.step import cross_entropy
from tests.compiler import QUICKLY

SMOOTHING = 0.1
# Shares of the largest magnitude, for logits, loss and statistics, and for the norms of gradients.
# In float32 ReLU's kinks cost the gradients some digits, in the reference itself as well.
TOLERANCES = {"float64": (1e-6, 1e-6), "float32": (1e-4, 2e-3)}


class Outcome(NamedTuple):
    """What a network computes; tensors by the reference's names, in the reference's layout."""

    eval_logits: np.ndarray
    train_logits: np.ndarray
    loss: float
    grads: dict[str, np.ndarray]
    running: dict[str, np.ndarray]  # statistics after the pass; variances are PyTorch's estimate


def rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor that goes by a name; see tests/golden/README.md."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        z = 1 + 0.25 * abs(z)
    elif name.endswith(("running_mean", "bias")):
        z = 0.1 * z
    elif len(shape) == 4:
        z = z * np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:
        z = z * np.sqrt(1 / shape[1])
    else:
        z = 1 + 0.1 * z
    return z.astype(np.float32)


def images_by_rule(batch: int, side: int, channels: int = 3) -> np.ndarray:
    """`[batch, channels, side, side]`; three are RGB."""
    shape = (batch, channels, side, side)
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def flax_outcome(
    config: ConfigDict,
    state_dict: Mapping[str, Any],
    images: np.ndarray,
    labels: tuple[int, ...],
    precision: str,
    grouped_conv: str = "auto",
    scan_blocks: bool = False,
) -> Outcome:
    """What our network makes of the reference's weights and of images `[batch, 3, h, w]`, RGB."""
    variables = jax.tree.map(
        lambda x: jnp.asarray(x, precision), weights.from_pycls(config, state_dict)
    )
    model = models.build(
        config, dtype=precision, grouped_conv=grouped_conv, scan_blocks=scan_blocks
    )
    passes = jax.jit(
        functools.partial(_both_passes, model, jnp.array(labels)),
        compiler_options=QUICKLY,
    )
    nhwc = jnp.asarray(images.transpose(0, 2, 3, 1), precision)
    eval_logits, loss, train_logits, batch_stats, grads = jax.device_get(passes(variables, nhwc))
    after = _unbiased(config, variables["batch_stats"], batch_stats, len(images))
    running = weights.to_pycls(config, {"params": grads, "batch_stats": after})
    names = running.keys()
    return Outcome(
        eval_logits,
        train_logits,
        float(loss),
        {name: running[name] for name in names if "running" not in name},
        {name: running[name] for name in names if "running" in name},
    )


def _both_passes(
    model: models.Network, labels: jax.Array, variables: Any, images: jax.Array
) -> tuple[Any, ...]:
    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, updated = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        loss = cross_entropy(logits, labels, SMOOTHING).mean()
        return loss, (logits, updated["batch_stats"])

    eval_logits = model.apply(variables, images, train=False)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (train_logits, batch_stats)), grads = grad_fn(variables["params"])
    return eval_logits, loss, train_logits, batch_stats, grads


def _unbiased(config: ConfigDict, before: Any, after: Any, batch: int) -> Any:
    """The running variances, had they been PyTorch's estimates: Flax divides by n, not by n - 1."""
    values = {layer.name: batch * layer.size**2 for layer in arch.layers(config)}
    flat_before, flat = flatten_dict(before), flatten_dict(after)
    for path in flat:
        if path[-1] == "var":
            n = values[".".join(path[:-2])]
            x, x_before = (np.asarray(tree[path], np.float64) for tree in (flat, flat_before))
            flat[path] = x + (x - 0.9 * x_before) / (n - 1)
    return weights.nested(flat)


def norms(tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The 2-norm of each tensor."""
    return {k: float(np.linalg.norm(np.asarray(x, np.float64))) for k, x in tensors.items()}


def assert_close(got: Any, wanted: Any, tolerance: float) -> None:
    """Compares to a share of the largest magnitude."""
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def assert_norms_close(
    got: Mapping[str, float], wanted: Mapping[str, float], tolerance: float
) -> None:
    """Compares norms by name, to a share of the largest."""
    assert got.keys() == wanted.keys()
    assert_close([got[name] for name in wanted], list(wanted.values()), tolerance)


def errors(got: Outcome, truth: Outcome) -> dict[str, float]:
    """What each part of an outcome is off by, as a share of the largest magnitude of its kind.

    Gradients and statistics are compared by their norms.
    """
    assert got.grads.keys() == truth.grads.keys()
    assert got.running.keys() == truth.running.keys()
    return {name: _error(getattr(got, name), getattr(truth, name)) for name in Outcome._fields}


def _error(got: Any, truth: Any) -> float:
    if isinstance(truth, Mapping):
        truth, got = norms(truth), norms(got)
        got, truth = [got[name] for name in truth], list(truth.values())
    got, truth = np.asarray(got, np.float64), np.asarray(truth, np.float64)
    return float(np.abs(got - truth).max() / np.abs(truth).max())


def assert_alike(
    got: Outcome, truth: Outcome, precision: str, others: Callable[[], Sequence[Outcome]] = tuple
) -> None:
    """Compares an outcome to PyTorch's in float64.

    Deep networks amplify float32's rounding beyond the tolerance, in any library. There it is
    enough to be no more than three times as far off as `others`, PyTorch's own float32 passes,
    which are asked for only then.
    """
    assert got.eval_logits.dtype == precision
    near, gradients = TOLERANCES[precision]
    tolerances = {part: gradients if part == "grads" else near for part in Outcome._fields}
    far = {part: x for part, x in errors(got, truth).items() if not x <= tolerances[part]}
    rounding = [errors(other, truth) for other in others()] if far else []
    for part, error in far.items():
        allowed = max([tolerances[part], *(3 * other[part] for other in rounding)])
        assert error <= allowed, f"{part} off by {error:.1e} of the largest, not {allowed:.1e}"
