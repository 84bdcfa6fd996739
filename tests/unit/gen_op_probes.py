#!/usr/bin/env python3
"""Writes data/op_probes.inc: a node of every operator that the importer knows, for test_onnx_ops.c, which tries it with every element type.

    python3 tests/unit/gen_op_probes.py NODE_TESTS     (a folder of the ONNX backend's node tests)

The node is the smallest one-node model among those tests and ../onnx/contrib, or one of the few below.  Which of its tensors take
another element type follows from the operator's schema: those of its result's type, or of input 0's where no input has that; where no
input can have another, an attribute chooses.  With it stand the versions of the operator since the importer's first, and the element
types that ONNX (or ONNX Runtime) allows.  Last come the names of all operators of ai.onnx."""
import glob
import os
import re
import sys
import numpy as np
import onnx
from onnx import helper, numpy_helper
import onnxruntime.capi.onnxruntime_pybind11_state as ort

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..")
rows = re.findall(r'^ONNX_OP\("([^"]*)", (\w+), (\d+), (\w+),', open(os.path.join(SOURCE, "frontend/onnx/onnx_ops.def")).read(), re.M)
LATEST = 27  # of ai.onnx, that the importer takes
ms = {}
for s in ort.get_all_operator_schema():
    if s.domain == "com.microsoft" or s.name in ("Affine", "Crop", "ImageScaler", "ScaledTanh", "ParametricSoftplus", "SimplifiedLayerNormalization"):
        ms[s.domain, s.name] = s


def schema(domain, name, opset):
    """Type variable of each input (the last one of further inputs), of the result, and what each variable allows."""
    s = ms.get((domain, name)) or ms.get(("", name))
    if s:
        allowed = {t.type_param_str: set(t.allowed_type_strs) for t in s.type_constraints}
        return [i.typeStr for i in s.inputs], s.outputs[0].typeStr, allowed
    s = onnx.defs.get_schema(name, opset, "" if domain == "com.microsoft" else domain)
    allowed = {t.type_param_str: set(t.allowed_type_strs) for t in s.type_constraints}
    return [i.type_str for i in s.inputs], s.outputs[0].type_str, allowed


def versions(domain, name, since):
    """Since when the operator is what it is, from the importer's first version on."""
    if (domain and domain != "ai.onnx.ml") or name in ("Affine", "Crop", "ImageScaler", "ScaledTanh", "ParametricSoftplus", "SimplifiedLayerNormalization"):
        return "1"
    all_of = sorted({s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == name and s.domain == domain})
    first = max([v for v in all_of if v <= max(since, 1)] or [0])
    return " ".join(str(v) for v in all_of if first <= v <= LATEST)


CODES = {"float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13,
         "complex64": 14, "complex128": 15, "bfloat16": 16, "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22,
         "float4e2m1": 23, "float8e8m0": 24, "uint2": 25, "int2": 26}


def mask(types):
    return sum({1 << CODES[t[7:-1]] for t in types if t.startswith("tensor(") and t[7:-1] in CODES})


# Whose values or bodies are of any type: nothing is tried
UNTRIED = {"BitCast", "ConcatFromSequence", "Loop", "If", "Optional", "OptionalGetElement", "OptionalHasElement", "Scan", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
           "SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence"}
# The attribute that chooses the result's type
CHOOSES = {"Constant": "value", "ConstantOfShape": "value", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype", "BlackmanWindow": "output_datatype",
           "HammingWindow": "output_datatype", "HannWindow": "output_datatype", "MelWeightMatrix": "output_datatype"}


def f(*shape):
    return (np.arange(int(np.prod(shape))) % 7 - 2).reshape(shape).astype(np.float32)


def scalar(v, t=np.float32):
    return np.array(v, t)


def body():
    """An iteration that doubles what it carries."""
    infos = [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("v", 1, [2])]
    nodes = [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Add", ["v", "v"], ["v_out"])]
    return helper.make_graph(nodes, "body", infos, [helper.make_tensor_value_info("on_out", 9, []), helper.make_tensor_value_info("v_out", 1, [2])])


def branch(op):
    """What captures x1."""
    ins = ["x1", "x1"] if op == "MatMul" else ["x1"]
    return helper.make_graph([helper.make_node(op, ins, [op])], op, [], [helper.make_tensor_value_info(op, 1, [1024, 1024])])


def step():
    """Adds an element to the state, which is also what comes out."""
    infos = [helper.make_tensor_value_info(n, 1, [2]) for n in ("state", "element")]
    nodes = [helper.make_node("Add", ["state", "element"], ["sum"]), helper.make_node("Identity", ["sum"], ["out"])]
    return helper.make_graph(nodes, "step", infos, [helper.make_tensor_value_info(n, 1, [2]) for n in ("sum", "out")])


own = {
    ("", "If"): (17, {"then_branch": branch("MatMul"), "else_branch": branch("Softmax")}, [scalar(True, np.bool_), f(1024, 1024)]),
    ("", "Scan"): (17, {"body": step(), "num_scan_inputs": 1}, [f(2), f(200, 2)]),
    ("", "Loop"): (17, {"body": body()}, [scalar(3, np.int64), scalar(True, np.bool_), f(2)]),
    ("", "Upsample"): (9, {"mode": "nearest"}, [f(1, 1, 2, 2), np.float32([1, 1, 2, 2])]),
    ("", "Constant"): (13, {"value": numpy_helper.from_array(f(2))}, []),
    ("", "RandomNormal"): (17, {"shape": [2]}, []),
    ("", "RandomUniform"): (17, {"shape": [2]}, []),
    ("", "RandomNormalLike"): (17, {}, [f(2)]),
    ("", "RandomUniformLike"): (17, {}, [f(2)]),
    ("", "Multinomial"): (17, {"sample_size": 2}, [f(1, 3)]),
    ("", "MaxRoiPool"): (17, {"pooled_shape": [2, 2]}, [f(1, 1, 4, 4), np.float32([[0, 0, 0, 3, 3]])]),
    ("", "GlobalLpPool"): (17, {}, [f(1, 1, 2, 2)]),
    ("", "Scatter"): (10, {"axis": 0}, [f(3), np.int64([1]), f(1)]),
    ("com.microsoft", "LayerNormalization"): (17, {}, [f(2, 4), f(4), f(4)]),
    ("com.microsoft", "SimplifiedLayerNormalization"): (17, {}, [f(2, 4), f(4)]),
    ("com.microsoft", "QuantizeLinear"): (17, {}, [f(2, 4), scalar(0.5), scalar(3, np.uint8)]),
    ("com.microsoft", "DequantizeLinear"): (17, {}, [np.uint8([[1, 2]]), scalar(0.5), scalar(3, np.uint8)]),
}


def candidates():
    found = {}
    paths = glob.glob(os.path.join(sys.argv[1], "*", "model.onnx")) + glob.glob(os.path.join(SOURCE, "tests/onnx/contrib/*/model.onnx"))
    for path in sorted(paths, key=lambda p: (os.path.getsize(p), p)):
        m = onnx.load(path)
        if len(m.graph.node) != 1 or m.functions:
            continue
        n = m.graph.node[0]
        key = "" if n.domain == "ai.onnx" else n.domain, n.op_type
        if key not in found and all(i.type.HasField("tensor_type") for i in m.graph.input):
            data = {t.name: numpy_helper.to_array(t) for t in m.graph.initializer}
            for k, i in enumerate(m.graph.input):
                t = onnx.TensorProto()
                t.ParseFromString(open(os.path.join(os.path.dirname(path), "test_data_set_0", f"input_{k}.pb"), "rb").read())
                data[i.name] = numpy_helper.to_array(t)
            opset = [o.version for o in m.opset_import if o.domain in ("", "ai.onnx")]
            found[key] = opset[0] if opset else 0, n, [data.get(i) for i in n.input], {o.domain: o.version for o in m.opset_import}
    return found


def literal(b):
    return '"' + "".join(f"\\{c:03o}" for c in b) + '"'


def inputs(name, values, names, types, var, allowed):
    """Rows of the inputs that are there."""
    of_var = [np.asarray(v).dtype for v, t in zip(values, names) if t == var and v is not None]
    rows = []
    for v, t in zip(values, names):
        if v is None:
            rows.append('{"", 0, "", 0, 0, NULL}')
            continue
        v = np.asarray(v)
        like = of_var and v.dtype == of_var[0] and v.dtype.kind == "f" and allowed.get(t, set()) >= allowed.get(var, {""})
        code = 0 if name not in CHOOSES and name not in UNTRIED and (t == var or like) else int(helper.np_dtype_to_tensor_dtype(v.dtype))
        small = v.size <= (64 if code else 8) and v.dtype.kind in "fiub" and not (name in ("If", "Loop") and v.dtype.kind == "b")
        nums = ", ".join(f"{x:.7g}" if np.isfinite(x) else "0" for x in v.astype(np.float64).ravel()) if small else ""
        nums = f"(const double[]){{{nums or 0}}}" if small else "NULL"
        rows.append(f'{{"x{len(rows)}", {code}, "{",".join(map(str, v.shape))}", {v.ndim}, {v.size}, {nums}}}')
    return rows


def main():
    found = candidates()
    out, table = ["/* Written by gen_op_probes.py. */"], []
    seen = set()
    for domain, name, since, until in rows:
        if (domain, name) in seen:
            continue
        seen.add((domain, name))
        if (domain, name) in own:
            opset, attrs, values = own[domain, name]
            n = helper.make_node(name, [f"x{k}" for k in range(len(values))], ["y"], domain=domain, **attrs)
        elif (domain, name) in found:
            opset, n, values, imports = found[domain, name]
            opset = imports[domain] if domain.startswith("ai.onnx.") else max(opset, 6)
        elif name in UNTRIED:
            opset, n, values = 0, None, []
        else:
            sys.exit(f"no model has {domain} {name}")
        types, result, _ = schema(domain, name, opset or LATEST)
        last_types, last_result, allowed = schema(domain, name, opset if domain.startswith("ai.onnx.") or name in ("Scatter", "Upsample") else LATEST)
        names = [types[min(k, len(types) - 1)] if types else "" for k in range(len(values))]
        var = result if (result in names and "tensor(" not in result) or name in CHOOSES else names[0] if names else result
        last = last_result if var == result or not last_types else last_types[min(names.index(var), len(last_types) - 1)]
        ident = "NULL"
        ins = inputs(name, values, names, types, var, allowed)
        if ins:
            ident = f"in_{len(table)}"
            out.append(f"static const probe_input {ident}[] = {{{', '.join(ins)}}};")
        attrs = b"".join(b"\x2a" + varint(a.ByteSize()) + a.SerializeToString() for a in n.attribute if a.name != CHOOSES.get(name)) if n else b""
        chooses = f'"{CHOOSES[name]}"' if name in CHOOSES else "NULL"
        table.append(f'    {{"{domain}", "{name}", {opset}, {"false" if name in UNTRIED else "true"}, {chooses}, "{versions(domain, name, int(since))}", {mask(allowed.get(last, {last})):#x}, '
                     f"{len(ins)}, {ident}, {len(attrs)}, {literal(attrs)}}},")
    out.append("static const probe probes[] = {\n" + "\n".join(table) + "\n};")
    every = sorted({s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.since_version <= LATEST} -
                   {s.name for s in onnx.defs.get_all_schemas() if s.deprecated})
    out.append("static const char *const onnx_names[] = {\n" + "\n".join(f'    "{n}",' for n in every) + "\n};")
    open(os.path.join(HERE, "data", "op_probes.inc"), "w").write("\n".join(out) + "\n")
    print(len(table), "operators;", len(every), "of ai.onnx")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


main()
