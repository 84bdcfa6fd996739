#!/usr/bin/env python3
"""Writes data/cast_cases.inc: what casts between float32 and the narrow types give, as ml_dtypes and onnx.numpy_helper have it.

    python3 tests/unit/gen_cast_cases.py

For each type: the float32 of every code (`values`), and for each way to cast the code of every float32 in `from`: all values, their
neighbours, the middles between two of them and what lies beside those, what is out of range, and what is no number.  test_casts.c
holds the reference and the emulated kernels to them.  Where the ONNX specification says something else than those libraries
(infinity to f8e8m0 saturates; without saturation what is out of its range is NaN), the specification counts; what it leaves open
(zero and negative numbers to f8e8m0, NaN to integers) is not among the cases, but for the largest f8e8m0 below zero."""
import os
import ml_dtypes
import numpy as np
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
FLOATS = {"F8E4M3": ml_dtypes.float8_e4m3fn, "F8E5M2": ml_dtypes.float8_e5m2, "F8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
          "F8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz, "F8E8M0": ml_dtypes.float8_e8m0fnu, "F4E2M1": ml_dtypes.float4_e2m1fn}
INTS = {"I4": (ml_dtypes.int4, 4), "U4": (ml_dtypes.uint4, 4), "I2": (ml_dtypes.int2, 2), "U2": (ml_dtypes.uint2, 2)}


def values_of(name, codes):
    if name in FLOATS:
        return codes.view(FLOATS[name]).astype(np.float32)
    t, bits = INTS[name]
    v = codes.astype(np.int64)
    return (v - ((v >> (bits - 1)) << bits) if name[0] == "I" else v).astype(np.float32)


def edges(values):
    v = np.unique(values[np.isfinite(values)].astype(np.float64))
    mid = np.concatenate([(v[1:] + v[:-1]) / 2, [v[0] / 1.5, 1.03125 * v[-1], 1.0625 * v[-1]]])
    with np.errstate(over="ignore"):
        mid = mid.astype(np.float32)
        more = np.concatenate([v, [1e6, 1e30, np.inf]]).astype(np.float32)
    return np.unique(np.concatenate([more, mid, np.nextafter(mid, np.float32(-np.inf)), np.nextafter(mid, np.float32(np.inf))]))


def words(a, form):
    lines, row = [], []
    for x in a:
        row.append(form % int(x))
        if len(row) == 16:
            lines.append("    " + ", ".join(row) + ",")
            row = []
    return "\n".join(lines + ["    " + ", ".join(row) + ","] if row else lines)


def e8m0(x, saturate, mode):
    code = numpy_helper.to_float8e8m0(x, saturate, {"": "nearest"}.get(mode, mode)).view(np.uint8).copy()
    inside = (x >= np.float32(2.0**-127)) & (x <= np.float32(2.0**127))
    small = x < np.float32(2.0**-126)  # the helper rounds what float32 has as subnormal otherwise than the rest
    up = {"": x >= np.float32(1.5 * 2.0**-127), "up": x > np.float32(2.0**-127), "down": np.zeros(x.shape, bool)}[mode]
    code[small] = up[small].astype(np.uint8)
    code[~inside] = np.where(x[~inside] < 1, 0, 254) if saturate else 255
    return code


def main():
    out = ["/* Written by gen_cast_cases.py. */"]
    rows = []

    def case(name, how, saturate, mode, source, codes, values):
        if not any(r.startswith(f"    {{TN_{name},") for r in rows):
            out.append(f"static const uint32_t {name}_from[] = {{\n{words(source.view(np.uint32), '0x%x')}\n}};")
        out.append(f"static const uint8_t {name}_{how}[] = {{\n{words(codes, '%d')}\n}};")
        rows.append(f'    {{TN_{name}, {str(saturate).lower()}, "{mode}", {len(source)}, {name}_from, {name}_{how}, {len(values)}, {name}_values}},')

    for name in list(FLOATS) + list(INTS):
        bits = 4 if name.endswith("4") or name == "F4E2M1" else 2 if name.endswith("2") and name[0] in "IU" else 8
        codes = np.arange(1 << bits, dtype=np.uint8)
        values = values_of(name, codes)
        out.append(f"static const uint32_t {name}_values[] = {{\n{words(values.view(np.uint32), '0x%x')}\n}};")
        source = edges(values)
        if name == "F8E8M0":
            source = source[source > 0]
            for mode in ("up", "down", ""):
                for saturate in (True, False):
                    s = np.concatenate([source, np.float32([np.nan])])
                    c = np.concatenate([e8m0(source, saturate, mode), [255]])
                    case(name, (mode or "nearest") + ("" if saturate else "_strict"), saturate, mode, s, c, values)
        elif name in FLOATS:
            s = np.concatenate([source, -source[::-1], np.float32([np.nan, 0.0, -0.0])])
            plain = s.astype(FLOATS[name]).view(np.uint8)
            case(name, "strict", False, "", s, plain, values)
            if bits == 8:
                case(name, "saturate", True, "", s, numpy_helper.saturate_cast(s, FLOATS[name]).view(np.uint8), values)
        else:
            s = source[(np.abs(source) < 2.0**31)]
            s = np.concatenate([s, -s])
            case(name, "wrap", False, "", s, s.astype(np.int64) & ((1 << bits) - 1), values)
    out.append("static const struct cast_case {\n    tn_dtype t;\n    bool saturate;\n    const char *round;\n    size_t n;\n"
               "    const uint32_t *from;\n    const uint8_t *codes;\n    size_t n_values;\n    const uint32_t *values;\n} cases[] = {\n"
               + "\n".join(rows) + "\n};")
    with open(os.path.join(HERE, "data", "cast_cases.inc"), "w") as f:
        f.write("\n".join(out) + "\n")


main()
