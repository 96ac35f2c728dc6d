"""The reader of HLO's text: layouts, tiles, attributes."""

import pytest

from fastscale_jax.cost.hlo_text import arrays, computations


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("bf16[3,5]{1,0}", 30),
        ("f32[]", 4),
        ("pred[7]{0}", 7),
        ("token[]", 0),
        ("s4[10]{0:E(4)}", 5),
        ("f32[100]{0:T(512)}", 4 * 512),
        ("f32[3,5]{1,0:T(8,128)}", 4 * 8 * 128),
        ("f32[3,5]{0,1:T(8,128)}", 4 * 8 * 128),
        ("f32[9,129]{1,0:T(8,128)}", 4 * 16 * 256),
        ("bf16[16,14,14,4]{3,2,1,0:T(8,128)(2,1)}", 2 * 16 * 14 * 16 * 128),
        ("bf16[16,14,14,4]{0,3,2,1:T(4,128)(2,1)S(1)}", 2 * 14 * 14 * 4 * 128),
        ("bf16[64]{0:T(256)(128)(2,1)}", 2 * 256),
        ("u8[2,224,224,3]{0,2,3,1:T(32,128)(4,1)}", 3 * 224 * 224 * 128),
    ],
)
def test_an_array_s_buffer_is_of_whole_tiles(kind, size):
    assert [x.padded_bytes for x in arrays(kind)] == [size]


def test_a_layout_says_order_tiles_and_memory_space():
    (array,) = arrays("bf16[128,14,14,104]{0,3,2,1:T(8,128)(2,1)S(1)}")
    assert array.minor_to_major == (0, 3, 2, 1)
    assert array.tiles == ((8, 128), (2, 1))
    assert array.memory_space == 1
    assert array.bytes == 2 * 128 * 14 * 14 * 104


def test_an_instruction_s_attributes_are_read_past_braces_and_quotes():
    line = (
        "ROOT %c = (f32[2]{0}, /*index=1*/u8[0]{0}) custom-call(%a, f32[2]{0} %b), "
        'window={size=3x3 pad=1_1x1_1}, custom_call_target="t", index=3, '
        r"metadata={op_name=\"state.params[\'s1\']\"}".replace(r"\"", '"')
    )
    (x,) = computations("ENTRY %e () -> f32[] {\n  " + line + "\n}\n")[""]
    assert (x.name, x.opcode, x.operands, x.is_root) == ("c", "custom-call", ("a", "b"), True)
    assert (x.target, x.op_name) == ("t", r"state.params[\'s1\']")
    assert [x.attribute(name) for name in ("window", "index", "absent")] == [
        "size=3x3 pad=1_1x1_1",
        "3",
        "",
    ]
    assert [a.shape for a in x.arrays] == [(2,), (0,)]
