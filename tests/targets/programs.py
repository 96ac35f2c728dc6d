"""Compiled programs of a few lines, for the tests of what is counted in them."""

from fastscale_jax.targets.kernels import ProgramCount, count

MAP = "bf16[8,16,16,32]"  # an activation map
MAP_BYTES = 2 * 8 * 16 * 16 * 32
FORWARD = "jit(train_step)/jvp(Network)/s1/b1"
BACKWARD = "jit(train_step)/transpose(jvp(Network))/s1/b1"


def program(*entry: str, also: str = "") -> ProgramCount:
    """Counts an entry computation of these lines."""
    return count("\n".join(["HloModule m", also, "ENTRY %main () -> f32[] {", *entry, "}", ""]))


def computation(name: str, *lines: str) -> str:
    return "\n".join([f"%{name} (p: f32[]) -> f32[] {{", *lines, "}", ""])


def parameter(name: str, kind: str, number: int = 0, op_name: str = "batch.images") -> str:
    return f'%{name} = {kind} parameter({number}), metadata={{op_name="{op_name}"}}'


def named(op_name: str) -> str:
    return f'metadata={{op_name="{op_name}"}}'


def fusion(*lines: str, root: str, operands: str = "%p", op_name: str = "") -> ProgramCount:
    """Counts a program of one fusion of a parameter `f32[64,256]` and one `s32[]`."""
    return program(
        parameter("p", "f32[64,256]"),
        parameter("i", "s32[]", 1),
        f"ROOT %f = {root} fusion({operands}), kind=kLoop, calls=%inner, {named(op_name)}",
        also=computation("inner", *lines),
    )


def conv_line(dtype: str = "bf16") -> str:
    return (
        f"%y = {dtype}[8,16,16,32] convolution(%x, %k), window={{size=3x3 pad=1_1x1_1}}, "
        f"dim_labels=b01f_01io->b01f, {named(FORWARD + '/b/conv_general_dilated')}"
    )


def after_conv(*lines: str, dtype: str = "bf16", also: str = "") -> ProgramCount:
    """Counts a conv and what comes after."""
    return program(
        parameter("x", f"{dtype}[8,16,16,32]"),
        parameter("k", f"{dtype}[3,3,32,32]", 1, "state.params"),
        conv_line(dtype),
        *lines,
        also=also,
    )
