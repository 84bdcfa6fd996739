#!/usr/bin/env python3
"""Writes the ONNX models that the tests of the command need, without the onnx package: make_model.py NAME FILE"""
import pathlib
import struct
import sys


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(*pairs):
    return b"".join(field(n, v) for n, v in pairs if v is not None)


def node(op, inputs, outputs, name=None, domain=None, **attributes):
    attrs = [fields((1, k), (3, v) if isinstance(v, int) else (6, v), (20, 2 if isinstance(v, int) else 5)) for k, v in attributes.items()]
    return fields(*[(1, i) for i in inputs.split()], *[(2, o) for o in outputs.split()], (3, name), (4, op), *[(5, a) for a in attrs], (7, domain))


def value(name, dtype=None, dims=()):
    if dtype is None:
        return fields((1, name))
    shape = b"".join(field(1, fields((1, d) if isinstance(d, int) else (2, d))) for d in dims)
    return fields((1, name), (2, field(1, fields((1, dtype), (2, shape)))))


def tensor(name, dims, numbers):
    return fields(*[(1, d) for d in dims], (2, 1), (8, name), (9, struct.pack(f"<{len(numbers)}f", *numbers)))


def external(name, dims, location):
    return fields(*[(1, d) for d in dims], (2, 1), (8, name), (13, fields((1, "location"), (2, location))), (14, 1))


def graph(nodes, inputs, outputs, initializers=()):
    return fields(*[(1, n) for n in nodes], (2, "g"), *[(5, i) for i in initializers], *[(11, i) for i in inputs], *[(12, o) for o in outputs])


def model(g):
    return fields((1, 8), (7, g), (8, fields((1, ""), (2, 17))), (8, fields((1, "my.ops"), (2, 1))))


F32, BOOL = 1, 9


def branch(op, name):
    return graph([node(op, "x", name)], [], [value(name)])


def make(name, path):
    if name == "external":
        path.with_suffix(".bin").write_bytes(struct.pack("<32f", *range(32)))
        return graph([node("Add", "x w", "y")], [value("x", F32, [32])], [value("y")], [external("w", [32], path.with_suffix(".bin").name)])
    if name == "unknown":  # four kinds that have no importer, one of them twice and one in a branch
        then = graph([node("Deep", "x", "a", name="/inner/deep", domain="my.ops")], [], [value("a")])
        return graph([node("Frobnicate", "x", "p", name="/first/frob"), node("Relu", "p", "q"), node("Frobnicate", "q", "r", name="/second/frob"),
                      node("Gadget", "r", "s", domain="my.ops"), node("If", "c", "t", then_branch=then, else_branch=branch("Relu", "b")),
                      node("Upsample", "t", "y", name="/old/upsample")],
                     [value("x", F32, ["n", 3]), value("c", BOOL, [])], [value("y")])
    if name == "if":
        return graph([node("If", "c", "z", name="/choose", then_branch=branch("Relu", "a"), else_branch=branch("Neg", "b")), node("Neg", "z", "y")],
                     [value("x", F32, ["n", 3]), value("c", BOOL, [])], [value("y")])
    if name == "if_shapes":  # branches of two shapes
        other = graph([node("Transpose", "x", "b")], [], [value("b")])
        return graph([node("If", "c", "y", name="/choose", then_branch=branch("Relu", "a"), else_branch=other)],
                     [value("x", F32, ["n", 3]), value("c", BOOL, [])], [value("y")])
    if name == "shared":  # two inputs with one symbol
        return graph([node("Add", "x y", "z")], [value("x", F32, ["n", 3]), value("y", F32, ["n", 3])], [value("z")])
    sys.exit(f"there is no model {name}")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[2])
    target.write_bytes(model(make(sys.argv[1], target)))
