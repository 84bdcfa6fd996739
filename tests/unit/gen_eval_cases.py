#!/usr/bin/env python3
"""Writes data/eval_cases.inc: one-op graphs with the results that onnxruntime (or, where it lacks the case, onnx.reference) gives.

    python3 tests/unit/gen_eval_cases.py

Each case becomes a C function that test_eval_onnx.c runs.  The inputs are small and fixed by a seed."""
import os
import numpy as np
import onnx
import onnx.reference
import onnxruntime as ort
from onnx import helper, TensorProto

rng = np.random.default_rng(7)
HERE = os.path.dirname(os.path.abspath(__file__))
DT = {"float32": "TN_F32", "float64": "TN_F64", "float16": "TN_F16", "int64": "TN_I64", "int32": "TN_I32", "int8": "TN_I8",
      "uint8": "TN_U8", "bool": "TN_BOOL", "uint32": "TN_U32"}
cases = []


def noise(*shape, lo=-2.0, hi=2.0):
    return (rng.random(shape) * (hi - lo) + lo).astype(np.float32)


def run(op_type, attrs, inputs, opset, n_out=1, reference=False):
    names = [f"x{i}" if v is not None else "" for i, v in enumerate(inputs)]
    outs = [f"y{i}" for i in range(n_out)]
    node = helper.make_node(op_type, names, outs, **attrs)
    vis = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in zip(names, inputs) if v is not None]
    g = helper.make_graph([node], "g", vis, [helper.make_empty_tensor_value_info(o) for o in outs])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)])
    m.ir_version = 10
    feed = {n: v for n, v in zip(names, inputs) if v is not None}
    if reference:
        return onnx.reference.ReferenceEvaluator(m).run(None, feed)
    m = onnx.shape_inference.infer_shapes(m)
    return ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)


def nums(a):
    def one(v):
        if np.isnan(v):
            return "NAN"
        if np.isinf(v):
            return "INFINITY" if v > 0 else "-INFINITY"
        return str(v)  # the shortest text that identifies v in its dtype

    a = np.asarray(a)
    return ", ".join(one(v) for v in (a if a.dtype.kind == "f" else a.astype(np.int64)).ravel()) or "0"


def dims(s):
    return ", ".join(str(d) for d in s) or "0"


def case(name, op, c_inputs, want, struct="none", attrs="", prelude="", tol=1e-5):
    """want: expected outputs; c_inputs: the op's operands (None: absent)."""
    if not isinstance(want, (list, tuple)):
        want = [want]
    out = [f"static void case_{name}(bench *b) {{"]
    vals = []
    for i, v in enumerate(c_inputs):
        if v is None:
            vals.append("{0}")
            continue
        out.append(f"    tn_val x{i} = bench_input(b, {DT[str(v.dtype)]}, {v.ndim}, DIMS({dims(v.shape)}), NUMS({nums(v)}));")
        vals.append(f"x{i}")
    if prelude:
        out.append("    " + prelude)
    out.append(f"    tn_attrs_{struct} a = {{{attrs or '0'}}};")
    arr = ", ".join(vals) if vals else "{0}"
    out.append(f"    tn_node n = tn_emit(b->g, TN_OP_{op}, &a, {len(vals)}, (tn_val[]){{{arr}}});")
    out.append("    if (bench_refused(b, n)) return;")
    res = ", ".join(f"tn_node_result(b->g, n, {k})" for k in range(len(want)))
    out.append(f"    bench_eval(b, {len(want)}, (tn_val[]){{{res}}});")
    for k, w in enumerate(want):
        w = np.asarray(w)
        out.append(f"    bench_expect(b, {k}, {w.ndim}, DIMS({dims(w.shape)}), NUMS({nums(w)}), {tol});")
    out.append("}")
    cases.append((name, "\n".join(out)))


def C(v):
    return "{(const int64_t[]){" + ", ".join(str(x) for x in v) + "}, " + str(len(v)) + "}"


def CN(v):
    return "{(const double[]){" + ", ".join(repr(float(x)) for x in v) + "}, " + str(len(v)) + "}"


# ---- elementwise --------------------------------------------------------------------------------------------------------
x = np.array([-3, -1.5, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 2.5, 6.0], np.float32)
unit = np.array([-0.9, -0.5, 0.0, 0.3, 0.99], np.float32)
pos = np.array([0.01, 0.5, 1.0, 2.0, 10.0], np.float32)
for name, op, data in [("Neg", "NEG", x), ("Abs", "ABS", x), ("Sign", "SIGN", x), ("Floor", "FLOOR", x), ("Ceil", "CEIL", x), ("Round", "ROUND", x),
                       ("Sqrt", "SQRT", pos), ("Reciprocal", "RECIP", pos), ("Exp", "EXP", x), ("Log", "LOG", pos), ("Sin", "SIN", x), ("Cos", "COS", x),
                       ("Tan", "TAN", unit), ("Asin", "ASIN", unit), ("Acos", "ACOS", unit), ("Atan", "ATAN", x), ("Sinh", "SINH", x), ("Cosh", "COSH", x),
                       ("Tanh", "TANH", x), ("Asinh", "ASINH", x), ("Acosh", "ACOSH", pos[2:]), ("Atanh", "ATANH", unit), ("Erf", "ERF", x),
                       ("Sigmoid", "SIGMOID", x), ("Softplus", "SOFTPLUS", x), ("Relu", "RELU", x), ("HardSwish", "HARD_SWISH", x), ("Mish", "MISH", x),
                       ("Softsign", "SOFTSIGN", x)]:
    case(op.lower(), op, [data], run(name, {}, [data], 21))
for name, op, kw, at in [("Elu", "ELU", {"alpha": 1.5}, ".alpha = 1.5"), ("Celu", "CELU", {"alpha": 0.7}, ".alpha = 0.7"),
                         ("Selu", "SELU", {}, ".alpha = 1.67326319217681884765625, .gamma = 1.05070102214813232421875"),
                         ("LeakyRelu", "LEAKY_RELU", {"alpha": 0.1}, ".alpha = 0.1"),
                         ("HardSigmoid", "HARD_SIGMOID", {"alpha": 0.3, "beta": 0.4}, ".alpha = 0.3, .beta = 0.4"),
                         ("ThresholdedRelu", "THRESHOLDED_RELU", {"alpha": 0.4}, ".alpha = 0.4"),
                         ("Gelu", "GELU", {}, ".alpha = 0"), ("Gelu", "GELU", {"approximate": "tanh"}, '.approximate = "tanh"')]:
    nm = op.lower() + ("_tanh" if "approximate" in kw else "")
    case(nm, op, [x], run(name, kw, [x], 20), "activation", at, tol=2e-5)
case("is_nan", "IS_NAN", [np.array([1, np.nan, np.inf], np.float32)], run("IsNaN", {}, [np.array([1, np.nan, np.inf], np.float32)], 13))
inf = np.array([1, np.nan, np.inf, -np.inf], np.float32)
case("is_inf_both", "IS_INF", [inf], run("IsInf", {}, [inf], 10), "activation", ".alpha = 1, .beta = 1")
case("is_inf_neg", "IS_INF", [inf], run("IsInf", {"detect_positive": 0}, [inf], 10), "activation", ".beta = 1")
a34, b34, row = noise(3, 4), noise(3, 4), noise(4)
for name, op in [("Add", "ADD"), ("Sub", "SUB"), ("Mul", "MUL"), ("Div", "DIV"), ("Min", "MIN"), ("Max", "MAX")]:
    case(op.lower() + "_row", op, [a34, row], run(name, {}, [a34, row], 13))
col = noise(2, 3, 1)
case("add_outer", "ADD", [col, row], run("Add", {}, [col, row], 13))
case("pow", "POW", [np.abs(a34), row], run("Pow", {}, [np.abs(a34), row], 13))
ia, ib = np.array([-7, -3, 0, 5, 9, 7], np.int32), np.array([2, -2, 3, -3, 4, -7], np.int32)
for name, op in [("Add", "ADD"), ("Sub", "SUB"), ("Mul", "MUL"), ("Div", "DIV")]:
    case(op.lower() + "_i32", op, [ia, ib], run(name, {}, [ia, ib], 13))
case("mod_i32", "MOD", [ia, ib], run("Mod", {}, [ia, ib], 13))
case("fmod_f32", "FMOD", [a34, row], run("Mod", {"fmod": 1}, [a34, row], 13))
case("prelu", "PRELU", [a34, row], run("PRelu", {}, [a34, row], 16))
for name, op in [("Equal", "EQ"), ("Less", "LT"), ("LessOrEqual", "LE"), ("Greater", "GT"), ("GreaterOrEqual", "GE")]:
    case(op.lower() + "_i32", op, [ia, ib[:1]], run(name, {}, [ia, ib[:1]], 16))
ba, bb = np.array([True, True, False, False]), np.array([True, False, True, False])
for name, op in [("And", "AND"), ("Or", "OR"), ("Xor", "XOR")]:
    case(op.lower() + "_bool", op, [ba, bb], run(name, {}, [ba, bb], 13))
case("where", "SELECT", [ba, a34, row], run("Where", {}, [ba, a34, row], 16))
u8 = np.array([200, 3, 255, 0], np.uint8)
s8 = np.array([1, 7, 2, 3], np.uint8)
case("shl_u8", "SHL", [u8, s8], run("BitShift", {"direction": "LEFT"}, [u8, s8], 11))
case("shr_u8", "SHR", [u8, s8], run("BitShift", {"direction": "RIGHT"}, [u8, s8], 11))
case("bit_not_u8", "BIT_NOT", [u8], run("BitwiseNot", {}, [u8], 18))
big = np.array([1.7, -1.7, 300.2, 0.0, -0.4], np.float32)
case("cast_f32_i32", "CAST", [big], run("Cast", {"to": TensorProto.INT32}, [big], 13), "cast", ".to = TN_I32")
case("cast_f32_bool", "CAST", [big], run("Cast", {"to": TensorProto.BOOL}, [big], 13), "cast", ".to = TN_BOOL")
h = noise(16, lo=-70000, hi=70000)
case("cast_f32_f16", "CAST", [h], h.astype(np.float16), "cast", ".to = TN_F16", tol=0)

# ---- movement -----------------------------------------------------------------------------------------------------------
t = noise(2, 3, 4)
case("transpose", "TRANSPOSE", [t], np.transpose(t, (2, 0, 1)), "perm", ".perm = " + C([2, 0, 1]), tol=0)
for mode in ("reflect", "edge", "wrap", "constant"):
    pads = [0, 1, 2, 1, 2, 3]
    w = run("Pad", {"mode": mode}, [t, np.array(pads, np.int64), np.array(9, np.float32)], 19)
    pre = "tn_dim p[6] = {" + ", ".join(f"tn_dim_const(b->g, {v})" for v in pads) + "};"
    case("pad_" + mode, "PAD", [t], w, "pad", f'.before = {{p, 3}}, .after = {{p + 3, 3}}, .mode = "{mode}", .value = 9', pre, tol=0)
pre = "tn_dim p[6] = {" + ", ".join(f"tn_dim_const(b->g, {v})" for v in [0, 0, 1, 0, 0, -2]) + "};"
case("pad_crop", "PAD", [t], np.pad(t[:, :, :2], ((0, 0), (0, 0), (1, 0))), "pad", '.before = {p, 3}, .after = {p + 3, 3}', pre, tol=0)
pre = "tn_dim s[6] = {" + ", ".join(f"tn_dim_const(b->g, {v})" for v in [1, 2, 0, 1, 3, 2]) + "};"
case("slice", "SLICE", [t], t[1:2, 2::-1, 0:4:3], "slice", ".starts = {s, 3}, .sizes = {s + 3, 3}, .steps = " + C([1, -1, 3]), pre, tol=0)
t2 = noise(2, 5, 4)
case("concat", "CONCAT", [t, t2, t], np.concatenate([t, t2, t], 1), "axis", ".axis = 1", tol=0)
idx = np.array([[2, -1], [0, 1]], np.int64)
case("gather", "GATHER", [t, idx], run("Gather", {"axis": 1}, [t, idx], 13), "axis", ".axis = 1", tol=0)
ge = np.array([[[0, 2, -1, 1]], [[1, 1, 0, 2]]], np.int64)
case("gather_elements", "GATHER_ELEMENTS", [t, ge], run("GatherElements", {"axis": 1}, [t, ge], 13), "axis", ".axis = 1", tol=0)
gn = np.array([[0, 1], [1, -1]], np.int64)
case("gather_nd", "GATHER_ND", [t, gn], run("GatherND", {}, [t, gn], 13), "gather_nd", ".batch_dims = 0", tol=0)
gb = np.array([[1], [0]], np.int64)
case("gather_nd_batch", "GATHER_ND", [t, gb], run("GatherND", {"batch_dims": 1}, [t, gb], 13), "gather_nd", ".batch_dims = 1", tol=0)
for k in (-1, 0, 1, 9):
    for upper in (0, 1):
        kk = np.array(k, np.int64)
        case(f"trilu_{upper}_{'m' if k < 0 else ''}{abs(k)}", "TRILU", [t, kk], run("Trilu", {"upper": upper}, [t, kk], 14), "trilu", f".upper = {['false', 'true'][upper]}", tol=0)
d = noise(1, 8, 2, 3)
for mode in ("DCR", "CRD"):
    case("depth_to_space_" + mode.lower(), "DEPTH_TO_SPACE", [d], run("DepthToSpace", {"blocksize": 2, "mode": mode}, [d], 13), "depth", f'.block = 2, .mode = "{mode}"', tol=0)
s = noise(2, 2, 4, 6)
case("space_to_depth", "SPACE_TO_DEPTH", [s], run("SpaceToDepth", {"blocksize": 2}, [s], 13), "depth", ".block = 2", tol=0)
pre = "tn_dim s[3] = {" + ", ".join(f"tn_dim_const(b->g, {v})" for v in [1, 3, 1]) + "};"
case("split", "SPLIT", [t2], [t2[:, :1], t2[:, 1:4], t2[:, 4:]], "split", ".axis = 1, .sizes = {s, 3}", pre, tol=0)
pre = "tn_dim s[2] = {tn_dim_const(b->g, 2), tn_dim_const(b->g, 3)};"
case("iota", "IOTA", [], np.tile(np.arange(3), (2, 1)), "iota", ".dtype = TN_I32, .dims = {s, 2}, .axis = 1", pre, tol=0)

# ---- reductions ---------------------------------------------------------------------------------------------------------
for name, op in [("ReduceSum", "REDUCE_SUM"), ("ReduceMean", "REDUCE_MEAN"), ("ReduceMax", "REDUCE_MAX"), ("ReduceMin", "REDUCE_MIN"), ("ReduceProd", "REDUCE_PROD")]:
    for axes, keep in [([1], 1), ([0, 2], 0), ([0, 1, 2], 0), ([2], 0)]:
        w = run(name, {"keepdims": keep}, [t, np.array(axes, np.int64)], 18)
        case(f"{op.lower()}_{''.join(map(str, axes))}", op, [t], w, "reduce", f".axes = {C(axes)}, .keepdims = {'true' if keep else 'false'}")
ties = np.array([[3, 1, 3], [2, 5, 5]], np.float32)
for name, op in [("ArgMax", "ARG_MAX"), ("ArgMin", "ARG_MIN")]:
    for last in (0, 1):
        case(f"{op.lower()}_{last}", op, [ties], run(name, {"axis": 1, "keepdims": 0, "select_last_index": last}, [ties], 13), "arg",
             f".axis = 1, .last = {'true' if last else 'false'}")
for ex in (0, 1):
    for rev in (0, 1):
        case(f"cumsum_{ex}{rev}", "CUMSUM", [t], run("CumSum", {"exclusive": ex, "reverse": rev}, [t, np.array(1, np.int64)], 14), "cumsum",
             f".axis = 1, .exclusive = {['false', 'true'][ex]}, .reverse = {['false', 'true'][rev]}")
for ex in (0, 1):
    for rev in (0, 1):
        w = np.cumprod(np.flip(t, 1) if rev else t, 1)
        if ex:
            w = np.concatenate([np.ones_like(w[:, :1]), w[:, :-1]], 1)
        case(f"cumprod_{ex}{rev}", "CUMPROD", [t], np.flip(w, 1) if rev else w, "cumsum",
             f".axis = 1, .exclusive = {['false', 'true'][ex]}, .reverse = {['false', 'true'][rev]}")

# ---- contractions -------------------------------------------------------------------------------------------------------
ma, mb = noise(2, 1, 3, 4), noise(5, 4, 2)
case("matmul_batch", "MATMUL", [ma, mb], ma @ mb, "matmul")
case("matmul_trans", "MATMUL", [np.swapaxes(ma, -1, -2).copy(), np.swapaxes(mb, -1, -2).copy()], ma @ mb, "matmul", ".trans_a = true, .trans_b = true")
im, inn = rng.integers(-9, 9, (3, 4)).astype(np.int32), rng.integers(-9, 9, (4, 2)).astype(np.int32)
case("matmul_i32", "MATMUL", [im, inn], im @ inn, "matmul", tol=0)


def conv(name, xs, ws, strides, pads, dil, groups, bias=True):
    xx, ww = noise(*xs), noise(*ws)
    bb = noise(ws[0]) if bias else None
    kw = dict(strides=strides, pads=pads, dilations=dil, group=groups)
    w = run("Conv", kw, [xx, ww] + ([bb] if bias else []), 11)
    at = f".strides = {C(strides)}, .pads = {C(pads)}, .dilations = {C(dil)}, .groups = {groups}"
    case("conv_" + name, "CONV", [xx, ww] + ([bb] if bias else []), w, "conv", at)


conv("1d", (2, 3, 9), (4, 3, 3), [2], [1, 2], [1], 1)
conv("2d", (1, 3, 6, 5), (4, 3, 3, 3), [1, 2], [1, 0, 1, 2], [1, 1], 1)
conv("2d_dil", (1, 2, 7, 7), (2, 2, 3, 2), [1, 1], [2, 1, 0, 1], [2, 3], 1, False)
conv("2d_group", (1, 4, 5, 5), (6, 2, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 2)
conv("2d_depth", (2, 3, 5, 6), (3, 1, 3, 3), [2, 1], [1, 1, 1, 1], [1, 2], 3)
conv("2d_depth2", (1, 2, 5, 5), (4, 1, 3, 3), [1, 1], [0, 1, 2, 1], [1, 1], 2)
conv("1x1", (2, 3, 3, 4), (2, 3, 1, 1), [1, 1], [0, 0, 0, 0], [1, 1], 1)
conv("3d", (1, 2, 4, 5, 3), (3, 2, 2, 3, 2), [1, 2, 1], [1, 0, 0, 0, 1, 1], [1, 1, 1], 1)


def conv_t(name, xs, ws, strides, pads, dil, groups, opads):
    xx, ww = noise(*xs), noise(*ws)
    bb = noise(ws[1] * groups)
    w = run("ConvTranspose", dict(strides=strides, pads=pads, dilations=dil, group=groups, output_padding=opads), [xx, ww, bb], 11)
    at = f".strides = {C(strides)}, .pads = {C(pads)}, .dilations = {C(dil)}, .output_pads = {C(opads)}, .groups = {groups}"
    case("conv_transpose_" + name, "CONV_TRANSPOSE", [xx, ww, bb], w, "conv_transpose", at)


conv_t("2d", (1, 3, 3, 4), (3, 2, 3, 3), [2, 2], [1, 1, 1, 0], [1, 1], 1, [1, 0])
conv_t("2d_group", (1, 4, 3, 3), (4, 2, 2, 2), [2, 1], [0, 0, 0, 0], [1, 2], 2, [0, 0])
conv_t("1d", (2, 2, 5), (2, 3, 3), [2], [1, 1], [1], 1, [1])


def pool(name, op, onnx_op, xs, kernel, strides, pads, dil, ceil, count_pad=False, opset=22):
    xx = noise(*xs)
    kw = dict(kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil, dilations=dil)
    if op == "AVG_POOL":
        kw["count_include_pad"] = int(count_pad)
    w = run(onnx_op, kw, [xx], opset)
    at = f".kernel = {C(kernel)}, .strides = {C(strides)}, .pads = {C(pads)}, .dilations = {C(dil)}, .ceil_mode = {'true' if ceil else 'false'}, .count_pad = {'true' if count_pad else 'false'}"
    case(name, op, [xx], w, "pool", at)


pool("max_pool", "MAX_POOL", "MaxPool", (1, 2, 7, 6), [3, 2], [2, 2], [1, 0, 1, 1], [1, 1], 0)
pool("max_pool_ceil", "MAX_POOL", "MaxPool", (1, 2, 6, 6), [3, 3], [2, 2], [0, 0, 0, 0], [1, 1], 1)
pool("max_pool_ceil_pad", "MAX_POOL", "MaxPool", (1, 1, 5, 5), [2, 2], [3, 3], [1, 1, 1, 1], [1, 1], 1)
pool("max_pool_dil", "MAX_POOL", "MaxPool", (1, 1, 8, 8), [2, 3], [1, 2], [0, 1, 0, 1], [3, 2], 0)
pool("max_pool_1d", "MAX_POOL", "MaxPool", (2, 2, 9), [3], [2], [1, 1], [1], 0)
pool("max_pool_3d", "MAX_POOL", "MaxPool", (1, 1, 4, 4, 5), [2, 2, 3], [2, 1, 2], [0, 0, 1, 0, 0, 1], [1, 1, 1], 0)
for cp in (False, True):
    pool(f"avg_pool_{int(cp)}", "AVG_POOL", "AveragePool", (1, 2, 6, 5), [3, 3], [2, 1], [1, 1, 1, 1], [1, 1], 0, cp)
    pool(f"avg_pool_ceil_{int(cp)}", "AVG_POOL", "AveragePool", (1, 1, 6, 6), [3, 3], [2, 2], [1, 0, 0, 1], [1, 1], 1, cp)

# ---- norms --------------------------------------------------------------------------------------------------------------
for axis in (0, 1, 2):
    case(f"softmax_{axis}", "SOFTMAX", [t], run("Softmax", {"axis": axis}, [t], 13), "axis", f".axis = {axis}")
    case(f"log_softmax_{axis}", "LOG_SOFTMAX", [t], run("LogSoftmax", {"axis": axis}, [t], 13), "axis", f".axis = {axis}")
sc, bi = noise(4), noise(4)
case("layer_norm", "LAYER_NORM", [t, sc, bi], run("LayerNormalization", {"axis": 2, "epsilon": 1e-3}, [t, sc, bi], 17), "norm", ".axis = 2, .eps = 1e-3")
sc2 = noise(3, 4)
case("layer_norm_2axes", "LAYER_NORM", [t, sc2], run("LayerNormalization", {"axis": 1, "epsilon": 1e-3}, [t, sc2], 17), "norm", ".axis = 1, .eps = 1e-3")
case("rms_norm", "RMS_NORM", [t, sc], run("RMSNormalization", {"axis": 2, "epsilon": 1e-3}, [t, sc], 23, reference=True), "norm", ".axis = 2, .eps = 1e-3")
g6, gs, gbias = noise(2, 6, 3, 2), noise(6), noise(6)
case("group_norm", "GROUP_NORM", [g6, gs, gbias], run("GroupNormalization", {"num_groups": 3, "epsilon": 1e-3}, [g6, gs, gbias], 21), "norm", ".groups = 3, .eps = 1e-3")
mean, var = noise(6), noise(6, lo=0.1, hi=2)
case("batch_norm", "BATCH_NORM", [g6, gs, gbias, mean, var], run("BatchNormalization", {"epsilon": 1e-3}, [g6, gs, gbias, mean, var], 15), "norm", ".axis = 1, .eps = 1e-3")
for size in (3, 5):
    kw = dict(size=size, alpha=0.3, beta=0.6, bias=1.5)
    case(f"lrn_{size}", "LRN", [g6], run("LRN", kw, [g6], 13), "lrn", f".size = {size}, .alpha = 0.3, .beta = 0.6, .bias = 1.5, .axis = 1")

# ---- resize -------------------------------------------------------------------------------------------------------------
img = noise(1, 1, 4, 5)


def resize(name, out_hw, mode, coords, scales=None, nearest="round_prefer_floor", roi=None, **kw):
    sizes = np.array([1, 1] + list(out_hw), np.int64)
    attrs = dict(mode=mode, coordinate_transformation_mode=coords, nearest_mode=nearest)
    attrs.update(kw)
    r = np.array(roi, np.float32) if roi else np.array([], np.float32)
    if scales:
        ins = [img, r, np.array([1, 1] + scales, np.float32)]
    else:
        ins = [img, r, None, sizes]
    w = run("Resize", attrs, ins, 19, reference=True)[0]
    pre = "tn_dim s[4] = {" + ", ".join(f"tn_dim_const(b->g, {v})" for v in w.shape) + "};"
    at = f'.sizes = {{s, 4}}, .mode = "{mode}", .coords = "{coords}", .nearest = "{nearest}"'
    if scales: at += ", .scales = " + CN([1, 1] + list(np.array(scales, np.float32).astype(float)))
    if roi: at += ", .roi = " + CN(np.array(roi, np.float32).astype(float))
    if "cubic_coeff_a" in kw: at += f", .cubic_a = {kw['cubic_coeff_a']}"
    if kw.get("antialias"): at += ", .antialias = true"
    if kw.get("exclude_outside"): at += ", .exclude_outside = true"
    if "extrapolation_value" in kw: at += f", .extrapolation = {kw['extrapolation_value']}"
    case("resize_" + name, "RESIZE", [img], w, "resize", at, pre, tol=2e-5)


for coords in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"):
    for mode in ("linear", "cubic"):
        resize(f"{mode}_{coords}_up", (7, 9), mode, coords)
        resize(f"{mode}_{coords}_down", (3, 1), mode, coords)
    for near in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        resize(f"nearest_{coords}_{near}", (8, 3), "nearest", coords, nearest=near)
resize("linear_scales", (3, 8), "linear", "half_pixel", scales=[0.8, 1.7])
resize("cubic_scales_align", (3, 8), "cubic", "align_corners", scales=[0.8, 1.7])
resize("symmetric_scales", (3, 8), "linear", "half_pixel_symmetric", scales=[0.8, 1.7])
resize("cubic_a", (7, 9), "cubic", "half_pixel", cubic_coeff_a=-0.5)
resize("cubic_exclude", (7, 9), "cubic", "half_pixel", exclude_outside=1)
resize("linear_antialias", (2, 2), "linear", "half_pixel", antialias=1)
resize("cubic_antialias", (3, 2), "cubic", "half_pixel", antialias=1)
resize("cubic_antialias_exclude", (3, 2), "cubic", "half_pixel", antialias=1, exclude_outside=1)
resize("crop", (3, 4), "linear", "tf_crop_and_resize", roi=[0, 0, 0.2, 0.1, 1, 1, 0.8, 1.3], extrapolation_value=7.5)

# ---- indexing by data -----------------------------------------------------------------------------------------------------
# Scatters: negative indices, duplicates, and more indices than x has rows.
for red in ("none", "add", "mul", "min", "max"):
    sx, su = noise(3, 4), noise(5, 4)
    si = rng.integers(-3, 3, (5, 4)).astype(np.int64)
    at = f'.reduction = "{red}"' if red != "none" else ".axis = 0"
    case(f"scatter_elements_{red}", "SCATTER_ELEMENTS", [sx, si, su], run("ScatterElements", {"axis": 0, "reduction": red}, [sx, si, su], 18), "scatter", at)
    ni = rng.integers(-2, 2, (6, 2)).astype(np.int64)
    nx, nu = noise(2, 2, 3), noise(6, 3)
    at = f'.reduction = "{red}"' if red != "none" else ".axis = 0"
    case(f"scatter_nd_{red}", "SCATTER_ND", [nx, ni, nu], run("ScatterND", {"reduction": red}, [nx, ni, nu], 18), "scatter", at)
sx, si, su = rng.integers(-90, 90, (3, 4)).astype(np.int32), np.array([[2, 0], [-1, 1]], np.int64), np.array([[7, 8], [9, 10]], np.int32)
case("scatter_elements_inner", "SCATTER_ELEMENTS", [sx, si, su], run("ScatterElements", {"axis": 1}, [sx, si, su], 18), "scatter", ".axis = 1", tol=0)
case("scatter_elements_i32_mul", "SCATTER_ELEMENTS", [sx, si, su], run("ScatterElements", {"axis": 1, "reduction": "mul"}, [sx, si, su], 18), "scatter", '.axis = 1, .reduction = "mul"', tol=0)
ni, nu = np.array([[[1], [0]], [[-1], [1]]], np.int64), rng.integers(0, 99, (2, 2, 4)).astype(np.int32)
case("scatter_nd_slices", "SCATTER_ND", [sx, ni, nu], run("ScatterND", {"reduction": "add"}, [sx, ni, nu], 18), "scatter", '.reduction = "add"', tol=0)

tied = np.array([[[1, -2], [3, 0.5], [1, -0.0], [3, 0], [-5, 0.5]], [[0, 1], [7, 1], [7, 1], [0, 1], [7, 2]]], np.float32)
for largest in (0, 1):
    for axis, k in ((1, 3), (2, 2), (0, 1)):
        w = run("TopK", {"axis": axis, "largest": largest}, [tied, np.array([k], np.int64)], 11, 2)[1]
        case(f"top_k_{axis}_{largest}", "TOP_K", [tied], w, "top_k", f".axis = {axis}, .k = tn_dim_const(b->g, {k}), .smallest = {'false' if largest else 'true'}", tol=0)
nans = np.array([[1, np.nan, 3, np.nan, np.inf, -np.inf]], np.float32)
for largest in (0, 1):
    w = run("TopK", {"axis": 1, "largest": largest}, [nans, np.array([6], np.int64)], 11, 2)[1]
    case(f"top_k_nan_{largest}", "TOP_K", [nans], w, "top_k", f".axis = 1, .k = tn_dim_const(b->g, 6), .smallest = {'false' if largest else 'true'}", tol=0)
ti = rng.integers(-5, 5, (3, 9)).astype(np.int64)
case("top_k_i64", "TOP_K", [ti], run("TopK", {"axis": 1}, [ti, np.array([9], np.int64)], 11, 2)[1], "top_k", ".axis = 1, .k = tn_dim_const(b->g, 9)", tol=0)


# Coordinates far outside, at the border and between elements.
def grid_case(name, x, grid, mode, padding, align, reference=False):
    kw = dict(mode=mode, padding_mode=padding, align_corners=align)
    w = run("GridSample", kw, [x, grid], 20, reference=reference)
    at = f'.mode = "{mode}", .padding = "{padding}", .align_corners = {["false", "true"][align]}'
    case("grid_sample_" + name, "GRID_SAMPLE", [x, grid], w, "grid_sample", at)


gx = noise(2, 2, 4, 5)
gg = np.concatenate([noise(2, 3, 2, 2, lo=-1.1, hi=1.1), noise(2, 2, 2, 2, lo=-4, hi=4)], 1)
vx, vg = noise(1, 2, 3, 4, 2), noise(1, 2, 2, 3, 3, lo=-1.6, hi=1.6)
for padding in ("zeros", "border", "reflection"):
    for align in (0, 1):
        for mode in ("linear", "nearest", "cubic"):
            grid_case(f"{mode}_{padding}_{align}", gx, gg, mode, padding, align)
        for mode in ("linear", "nearest"):
            grid_case(f"volume_{mode}_{padding}_{align}", vx, vg, mode, padding, align)
grid_case("line", noise(2, 2, 5), noise(2, 4, 1, lo=-1.3, hi=1.3), "linear", "zeros", 0, True)
far = np.array([[[[np.inf, 0], [-np.inf, np.inf], [1e30, -1e30]]]], np.float32)
grid_case("far_border", gx[:1, :1], np.array([[[[9, 0], [-9, 9], [1e6, -1e6]]]], np.float32), "linear", "border", 0)
case("grid_sample_infinite", "GRID_SAMPLE", [gx[:1, :1], far], np.zeros((1, 1, 1, 3), np.float32), "grid_sample", "0")

rx = noise(2, 2, 7, 6)
rois = np.array([[0.3, 1.2, 4.4, 5.9], [-3, -2, 2.5, 3], [3, 3, 3.2, 3.1], [1, 0, 9, 12]], np.float32)
rb = np.array([0, 1, 1, 0], np.int64)
for mode in ("avg", "max"):
    for coords in ("half_pixel", "output_half_pixel"):
        for ratio in (0, 2):
            kw = dict(mode=mode, coordinate_transformation_mode=coords, output_height=3, output_width=2, sampling_ratio=ratio, spatial_scale=0.7)
            at = f'.height = 3, .width = 2, .sampling = {ratio}, .scale = {float(np.float32(0.7))!r}, .mode = "{mode}", .half_pixel = {"true" if coords == "half_pixel" else "false"}'
            case(f"roi_align_{mode}_{coords}_{ratio}", "ROI_ALIGN", [rx, rois, rb], run("RoiAlign", kw, [rx, rois, rb], 16, reference=mode == "max"), "roi_align", at)

# Sizes that depend on data
nz = np.array([0, 3, 0, 0, -1, 0.5], np.float32)
count = '.count = tn_dim_sym(b->g, "K")'
case("nonzero", "NONZERO", [nz], run("NonZero", {}, [nz], 13)[0][0], "nonzero", count, tol=0)
case("nonzero_none", "NONZERO", [np.zeros(4, bool)], np.zeros(0, np.int64), "nonzero", count, tol=0)
corner = noise(2, 6, 2, lo=0, hi=1)
boxes, scores = np.concatenate([corner, corner + noise(2, 6, 2, lo=-0.6, hi=0.6)], 2), np.round(noise(2, 2, 6, lo=0, hi=1), 1)
for name, most, iou, least, center in (("all", 9, 0.3, None, 0), ("few", 2, 0.1, 0.3, 0), ("center", 4, 0.2, 0.1, 1), ("zero", 0, 0.5, 0.0, 0)):
    ins = [np.abs(boxes), scores, np.array(most, np.int64), np.array(iou, np.float32)] + ([np.array(least, np.float32)] if least is not None else [])
    w = run("NonMaxSuppression", {"center_point_box": center}, [ins[0], scores] + [v.reshape(1) for v in ins[2:]], 11)
    case("nms_" + name, "NMS", ins, w, "nms", count + (", .center = true" if center else ""), tol=0)

with open(os.path.join(HERE, "data", "eval_cases.inc"), "w") as f:
    f.write("/* Written by gen_eval_cases.py: do not edit. */\n/* clang-format off */\n")
    for _, text in cases:
        f.write(text + "\n")
    f.write("\nstatic const struct { const char *name; void (*run)(bench *b); } cases[] = {\n")
    for n, _ in cases:
        f.write(f'    {{"{n}", case_{n}}},\n')
    f.write("};\n/* clang-format on */\n")
print(len(cases), "cases")
