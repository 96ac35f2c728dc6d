"""BatchNorm's backward pass for accelerators gives what the plain one gives, computed on a CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from fastscale_jax import arch, models
from fastscale_jax.convs.activated_conv import ACTIVATIONS
from fastscale_jax.distributed.sharding import device_mesh
from fastscale_jax.models.normalised import Normalised
from tests.models.one_batch import gradients_on, variables_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def plain(form, activation, x, factor, offset, gate):
    z = ACTIVATIONS[activation](x * factor + offset).astype(x.dtype)
    return {"value": z, "pooled": z.mean((1, 2)), "times": z * gate[:, None, None]}[form]


def ours(form, activation, x, factor, offset, gate):
    normalised = Normalised(x, factor, offset, activation)
    return normalised.times(gate) if form == "times" else getattr(normalised, form)()


def arrays(dtype, *, by_image=False):
    draw = np.random.default_rng(0).standard_normal
    shape = (4, 1, 1, 6) if by_image else (6,)
    x, gate = jnp.asarray(draw((4, 5, 3, 6)), dtype), jnp.asarray(abs(draw((4, 6))), dtype)
    # the offset leads some values beyond ReLU6's upper bend
    factor, offset = (jnp.asarray(draw(shape) * 3, jnp.promote_types(dtype, "f4")) for _ in "12")
    return x, factor, offset, gate


def first(function, args):
    """All gradients of a function of the results."""
    return jax.grad(lambda *args: jnp.sin(function(*args).astype("f4")).sum(), (0, 1, 2, 3))(*args)


def second(function, args, outer):
    """Derivatives of the squared gradients."""

    def squares(*args):
        gradients = jax.grad(lambda *args: jnp.sin(function(*args)).sum(), (0, 1, 2, 3))(*args)
        return sum((g**2).sum() for g in gradients)

    return outer(squares, (0, 1, 2, 3))(*args)


def assert_all_close(got, wanted, share, least=1e-3):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        np.testing.assert_allclose(x, y, rtol=0, atol=share * max(np.abs(y).max(), least))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("form", ["value", "pooled", "times"])
def test_values_and_derivatives_are_the_plain_form_s(form, activation):
    with jax.enable_x64(True):
        args = arrays("float64", by_image=activation == "silu")
        pairs = [functools.partial(f, form, activation) for f in (ours, plain)]
        got, wanted = (f(*args) for f in pairs)
        if (form, activation) == ("times", "relu"):  # multiplied in another order
            assert_all_close(got, wanted, 1e-15)
        else:
            np.testing.assert_array_equal(got, wanted)
        got, wanted = (jax.jit(functools.partial(first, f))(args) for f in pairs)
        assert_all_close(got, wanted, 1e-12)
        tangents = tuple(jnp.cos(a) for a in args)
        got, wanted = (jax.jvp(f, args, tangents)[1] for f in pairs)
        assert_all_close(got, wanted, 1e-12)


@pytest.mark.parametrize("outer", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize(
    ("form", "activation"),
    [
        ("value", "silu"),
        ("times", "silu"),
        ("pooled", "silu"),
        ("times", "relu6"),
        ("times", "relu"),
    ],
)
def test_second_derivatives_are_the_plain_form_s_in_both_modes(form, activation, outer):
    with jax.enable_x64(True):
        args = arrays("float64")
        pairs = [functools.partial(f, form, activation) for f in (ours, plain)]
        got, wanted = (jax.jit(functools.partial(second, f, outer=outer))(args) for f in pairs)
        assert_all_close(got, wanted, 1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(
    ("form", "activation"),
    [("value", "silu"), ("pooled", "silu"), ("times", "silu"), ("times", "relu")],
)
def test_gradients_in_each_dtype_have_its_precision(form, activation, dtype):
    args = arrays(dtype)
    got = first(functools.partial(ours, form, activation), args)
    assert [g.dtype for g in got] == [a.dtype for a in args]
    with jax.enable_x64(True):
        exact = first(functools.partial(plain, form, activation), [a.astype("f8") for a in args])
    # the result is rounded, a cotangent is rounded, and sums are of 60 of them
    assert_all_close(got, exact, 16 * float(jnp.finfo(dtype).eps))


def test_it_can_be_mapped_over_a_further_axis():
    args = arrays("float32")
    stacked = [jnp.stack([a, 2 * a]) for a in args]
    gradients = jax.jit(lambda *args: first(functools.partial(ours, "times", "silu"), args))
    mapped = jax.vmap(gradients)(*stacked)
    assert_all_close([g[1] for g in mapped], gradients(*(x[1] for x in stacked)), 1e-6)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_slopes_at_the_bends_are_the_plain_form_s(activation):
    x = jnp.asarray([0, -1, 2, 6, 7], jnp.float32).reshape(1, 1, 5, 1)
    args = (x, jnp.ones(1), jnp.zeros(1), jnp.ones((1, 1)))
    for form in ("value", "pooled", "times"):
        pairs = [functools.partial(f, form, activation) for f in (ours, plain)]
        got, wanted = (jax.jit(functools.partial(first, f))(args) for f in pairs)
        assert_all_close(got, wanted, 1e-6)


@pytest.mark.parametrize("form", ["value", "pooled", "times"])
def test_scales_that_all_devices_share_meet_maps_that_are_their_own(form):
    x, factor, offset, gate = arrays("float32")
    shared, own = PartitionSpec(), PartitionSpec("data")

    def of_device(x, gate, factor, offset):
        return first(functools.partial(ours, form, "silu"), (x, factor, offset, gate))

    sharded = jax.shard_map(
        of_device,
        mesh=device_mesh(jax.devices()[:1]),
        in_specs=(own, own, shared, shared),
        out_specs=(own, shared, shared, own),
    )
    got = jax.jit(sharded)(x, gate, factor, offset)
    wanted = jax.jit(functools.partial(first, functools.partial(plain, form, "silu")))(
        (x, factor, offset, gate)
    )
    assert_all_close(got, wanted, 1e-5)


@pytest.mark.parametrize(("platform", "has"), [("cpu", 0), ("tpu", 0), ("gpu", 1), ("cuda", 1)])
def test_gpus_alone_have_these_forms(platform, has):
    model = models.build(small("regnetz:500mf", 1), platform=platform)
    images = jnp.zeros((2, 12, 12, 3))
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), images
    )

    def apply(variables):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    assert ("optimization_barrier" in str(jax.make_jaxpr(apply)(variables))) == has


def test_an_unknown_platform_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match="unknown platform 'GPU'; choose one of cpu, tpu, gpu, cud"
    ):
        models.build(small("regnetz:500mf", 1), platform="GPU")


NETWORKS = ("regnetz:500mf", "regnety:500mf")
SETTINGS = {
    "groups": {"bn_group_size": 2},
    "synchronised": {"sync_bn": True, "axis": "data"},
    "a loop": {"scan_blocks": True},
}


def small(name, depth):
    config = arch.model_config(*name.split(":"))
    config.update(depths=(depth,), widths=(16,), strides=(2,), kernels=(3,), num_classes=5)
    config.update(resolution=12, stem_width=8, stochastic_depth=0.2)
    config.expansions = config.expansions[1:2]
    config.group_widths = (min(4, config.group_widths[0]),)
    if config.head_width:
        config.head_width = 32
    return config


def trained(config, platform, **settings):
    """Loss, gradients and running statistics after a batch of eight, float64."""
    model = models.build(config, dtype="float64", grouped_conv="lax", platform=platform, **settings)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((8, 12, 12, 3)))
    variables = jax.tree.map(lambda x: x.astype("f8"), variables_of(arch.as_architecture(config)))

    def step(params, images):
        key = jax.random.key(1)
        of_batch = gradients_on(model, variables, images, key=key, of=lambda x: (x**2).sum())
        return of_batch(params)

    if axis := settings.get("axis"):
        step = jax.vmap(step, (None, 0), axis_name=axis)
        images = images.reshape(2, 4, *images.shape[1:])
    return jax.jit(step)(variables["params"], images)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (NETWORKS[0], ""),
        *(pytest.param(name, "", marks=pytest.mark.slow) for name in NETWORKS[1:]),
        *(pytest.param("regnetz:500mf", x, marks=pytest.mark.slow) for x in SETTINGS),
    ],
)
def test_a_network_s_gradients_and_statistics_do_not_depend_on_the_platform(name, setting):
    settings = SETTINGS.get(setting, {})
    with jax.enable_x64(True):
        # a block with a skip is in the plain networks; a loop is of equal blocks after the first
        config = small(name, depth={"": 2, "a loop": 3}.get(setting, 1))
        got, wanted = (trained(config, platform, **settings) for platform in ("gpu", "cpu"))
    assert_all_close(got, wanted, 1e-11)


@pytest.mark.slow
def test_twenty_steps_in_float32_are_those_of_the_plain_form():
    config, images = small("regnetz:500mf", 2), jnp.asarray(arrays("float32")[0][..., :3])
    images = jnp.tile(images, (1, 2, 2, 1)) * jnp.arange(1, 5)[:, None, None, None] / 4

    def to_class_0(logits):
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    variables = variables_of(arch.as_architecture(config))

    def weights_after(platform):
        model = models.build(config, grouped_conv="lax", platform=platform)

        def update(variables, key):
            step = gradients_on(model, variables, images, key=key, of=to_class_0)
            (_, updated), gradients = step(variables["params"])
            params = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], gradients)
            return {"params": params, **updated}, ()

        return jax.lax.scan(update, variables, jax.random.split(jax.random.key(1), 20))[0]

    got, wanted = (weights_after(platform) for platform in ("gpu", "cpu"))
    # some offsets have gradients of 0, and are what rounding leaves
    assert_all_close(got, wanted, 1e-5, least=1e-2)
