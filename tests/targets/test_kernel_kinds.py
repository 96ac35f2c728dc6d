"""What kernels are for."""

import pytest

from fastscale_jax.targets.kernel_kinds import KINDS, RULES, Traits, kind_of
from fastscale_jax.targets.kernel_runs import Flow, name_flow
from tests.targets.programs import BACKWARD, FORWARD, fusion, named, parameter, program

NETWORK = Flow.DATA | Flow.STATE | Flow.FORWARD
GRADIENT = NETWORK | Flow.BACKWARD
AGAIN = "jvp(Network)/s1/b1/a/checkpoint"  # computed again in the backward pass
SCAN = "jit(f)/transpose(jvp(Network))/s2/s2._scan/while/body/closed_call"


@pytest.mark.parametrize(
    ("kind", "op_name", "opcodes", "flow"),
    [
        ("collectives", "jit(train_step)/psum", "all-reduce", GRADIENT),
        ("copies", f"{BACKWARD}/b/transpose()/rev", "reverse transpose", NETWORK),
        ("copies", f"{FORWARD}/a/convert_element_type", "convert", Flow.STATE),
        ("copies", "", "copy", Flow.STATE),
        ("input", "jit(f)/jvp(Network)/convert_element_type", "convert multiply", Flow.DATA),
        ("input", "jit(predict)/Network/convert_element_type", "convert", Flow.DATA),
        ("input", "jit(train_step)/vmap()/mul", "multiply gather", Flow.DATA),
        ("input", "jit(train_step)/jit(_beta)/while", "multiply", Flow.DATA | Flow.STATE),
        ("se", f"{FORWARD}/se/reduce_sum", "reduce convert", NETWORK),
        ("se", f"{BACKWARD}/se/add_any", "add multiply", GRADIENT),
        ("batchnorm", f"{FORWARD}/b/reduce_sum", "reduce multiply", NETWORK),
        ("batchnorm", f"{FORWARD}/b/div", "multiply", NETWORK),
        ("batchnorm", f"{FORWARD}/b/bn/sub", "subtract multiply", NETWORK),
        ("batchnorm", f"{BACKWARD}/a/{AGAIN}/reduce_sum", "reduce", GRADIENT),
        ("batchnorm", f"{BACKWARD}/a/add_any", "add multiply", GRADIENT),
        ("batchnorm", f"{SCAN}/Block/a/add_any", "add multiply", GRADIENT),
        ("batchnorm", "jit(f)/jvp(Network)/head/conv/reduce_sum", "reduce", NETWORK),
        ("products", f"{BACKWARD}/a/transpose", "reduce", GRADIENT),
        ("elementwise", f"{FORWARD}/a/jit(silu)/mul", "multiply logistic", NETWORK),
        ("elementwise", f"{FORWARD}/add", "add", NETWORK),
        ("elementwise", f"{BACKWARD}/add_any", "add", GRADIENT),
        ("elementwise", f"{SCAN}/Block/add_any", "add", GRADIENT),
        ("elementwise", f"{BACKWARD}/a/{AGAIN}/jit(silu)/add_any", "add", GRADIENT),
        ("elementwise", "jit(f)/jvp(Network)/head/reduce_sum", "reduce", NETWORK),
        ("elementwise", "jit(f)/transpose(jvp(Network))/head/fc/reduce_sum", "reduce", GRADIENT),
        ("elementwise", "jit(f)/jvp(Network)/stem/reduce_window_max", "reduce-window", NETWORK),
        ("loss", "jit(f)/transpose(jvp(jit(log_softmax)))/add_any", "add", NETWORK),
        ("loss", "jit(f)/transpose(jvp(jit(log_softmax)))/reduce_sum", "reduce", Flow.DATA),
        ("loss", "jit(train_step)/reduce_sum", "reduce compare", NETWORK),
        ("optimiser", "jit(train_step)/add", "add multiply", GRADIENT),
        ("optimiser", "jit(train_step)/mul", "multiply", Flow.STATE),
        ("other", "", "iota", Flow.NOTHING),
    ],
)  # fmt: skip
def test_a_kernel_s_kind_is_by_name_operations_and_what_it_depends_on(kind, op_name, opcodes, flow):
    assert kind_of(Traits(op_name, frozenset(opcodes.split()), flow), []) == kind


def test_the_rules_name_kinds_that_there_are():
    assert {rule.kind for rule in RULES} <= set(KINDS)
    assert name_flow(f"{FORWARD}/a") == Flow.FORWARD
    assert name_flow(f"{BACKWARD}/a") == Flow.FORWARD | Flow.BACKWARD
    assert name_flow("jit(train_step)/NetworkLike") == Flow.NOTHING


def test_what_a_kernel_depends_on_is_followed_through_the_program():
    def line(name: str, operands: str, op_name: str) -> str:
        return f"%{name} = f32[8] add({operands}), {named('jit(train_step)/' + op_name)}"

    found = program(
        parameter("images", "f32[8]", 0, "batch.images"),
        parameter("weight", "f32[8]", 1, r"state.params[\'w\']"),
        parameter("step", "f32[8]", 2, "state.step"),
        line("mixed", "%images, %images", "mul"),
        line("rate", "%step, %step", "mul"),
        line("logits", "%mixed, %weight", "jvp(Network)/s1/b1/add"),
        line("metric", "%logits, %images", "add"),
        line("gradient", "%metric, %logits", "transpose(jvp(Network))/s1/b1/add_any"),
        "%t = (f32[8], f32[8]) tuple(%gradient, %metric)",
        "%g = f32[8] get-tuple-element(%t), index=0",
        "%m = f32[8] get-tuple-element(%t), index=1",
        line("update", "%g, %weight", "add"),
        line("shown", "%m, %m", "add"),
    )
    assert {x.name: x.kind for x in found.kernels} == {
        "mixed": "input",
        "rate": "optimiser",
        "logits": "elementwise",
        "metric": "loss",
        "gradient": "elementwise",
        "update": "optimiser",
        "shown": "loss",
    }


def test_a_fusion_without_a_name_has_that_of_what_is_in_it():
    found = fusion(
        "%q = f32[64,256] parameter(0)",
        f"%a = f32[64,256] add(%q, %q), {named(FORWARD + '/se/add')}",
        "ROOT %r = f32[64,256] negate(%a)",
        root="f32[64,256]",
    )
    assert [(x.kind, x.op_name) for x in found.kernels] == [("se", f"{FORWARD}/se/add")]
