#!/usr/bin/env python3
"""Writes seeds of the fuzz targets: to corpus/onnx tiny models that reach every family of importer rows, to corpus/tensors
tensors of every kind of file, to corpus/caffe tiny nets, the text and, behind a byte 0, the
weights.

    python3 tests/fuzz/make_corpus.py        (needs the onnx package; the results are committed)
"""
import io
import pathlib
import zipfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

out = pathlib.Path(__file__).parent / "corpus" / "onnx"
out.mkdir(parents=True, exist_ok=True)


def i64(name, *v):
    return nh.from_array(np.array(v, np.int64), name)


def f32(name, *shape):
    return nh.from_array(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape), name)


def save(name, nodes, inputs, outputs, init=(), opset=17, functions=(), domains=()):
    ins = [h.make_value_info(i[0], i[1]) if len(i) == 2 else h.make_tensor_value_info(*i) for i in inputs]
    outs = [h.make_tensor_value_info(n, T.FLOAT, None) for n in outputs]
    graph = h.make_graph(nodes, name, ins, outs, list(init))
    opsets = [h.make_opsetid("", opset)] + [h.make_opsetid(d, 1) for d in domains]
    model = h.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    (out / f"{name}.onnx").write_bytes(model.SerializeToString())


N = h.make_node
# transforms of a real signal, there and back, and of frames; a weight of 4 bits
save("signal", [N("DFT", ["x", "", "axis"], ["s"], onesided=1), N("DFT", ["s", "n", "axis"], ["y"], onesided=1, inverse=1),
                N("STFT", ["x", "step", "w", "length"], ["z"])],
     [("x", T.FLOAT, ["B", 12, 1])], ["y", "z"], [i64("axis", 1), i64("n", 12), nh.from_array(np.int64(3), "step"), f32("w", 6),
                                                  nh.from_array(np.int64(6), "length")], opset=20)
save("nbits", [N("MatMulNBits", ["x", "w", "s", "z"], ["y"], domain="com.microsoft", bits=4, block_size=16, N=3, K=32)],
     [("x", T.FLOAT, ["M", 32])], ["y"], [nh.from_array(np.arange(48, dtype=np.uint8).reshape(3, 2, 8) * 5, "w"), f32("s", 6),
                                          nh.from_array(np.arange(3, dtype=np.uint8) * 70, "z")], domains=("com.microsoft",))
save("conv", [N("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]), N("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"]),
              N("MaxPool", ["n"], ["p"], kernel_shape=[2, 2], auto_pad="SAME_UPPER"), N("GlobalAveragePool", ["p"], ["g"]),
              N("Flatten", ["g"], ["y"])],
     [("x", T.FLOAT, ["N", 3, 8, 8])], ["y"], [f32("w", 4, 3, 3, 3), f32("b", 4), nh.from_array(np.ones(4, np.float32), "v")])
save("shapes", [N("Shape", ["x"], ["s"]), N("Gather", ["s", "zero"], ["n"]), N("Unsqueeze", ["n", "zero1"], ["n1"]),
                N("Concat", ["n1", "m1"], ["t"], axis=0), N("Reshape", ["x", "t"], ["r"]),
                N("Slice", ["r", "zero1", "big", "one1", "two1"], ["y"]), N("Split", ["s"], ["a", "b"], axis=0),
                N("Mul", ["a", "b"], ["ab"]), N("Div", ["ab", "two1"], ["d"]), N("Cast", ["d"], ["z"], to=T.FLOAT)],
     [("x", T.FLOAT, ["N", 6])], ["y", "z"],
     [nh.from_array(np.int64(0), "zero"), i64("zero1", 0), i64("one1", 1), i64("two1", 2), i64("m1", -1), i64("big", 2**63 - 1)])
save("if", [N("Constant", [], ["c"], value=nh.from_array(np.array(True), "")),
            N("If", ["c"], ["y"], then_branch=h.make_graph([N("Relu", ["x"], ["a"])], "t", [], [h.make_tensor_value_info("a", T.FLOAT, None)]),
              else_branch=h.make_graph([N("Neg", ["x"], ["b"])], "e", [], [h.make_tensor_value_info("b", T.FLOAT, None)])),
            N("If", ["q"], ["z"], then_branch=h.make_graph([N("Relu", ["x"], ["a"])], "t", [], [h.make_tensor_value_info("a", T.FLOAT, None)]),
              else_branch=h.make_graph([N("Neg", ["x"], ["b"])], "e", [], [h.make_tensor_value_info("b", T.FLOAT, None)]))],
     [("x", T.FLOAT, [2]), ("q", T.BOOL, [])], ["y", "z"])
fn = h.make_function("local", "Twice", ["a"], ["b"], [N("Add", ["a", "a"], ["b"])], [h.make_opsetid("", 17)])
save("function", [N("Twice", ["x"], ["t"], domain="local"), N("Twice", ["t"], ["y"], domain="local")], [("x", T.FLOAT, [2])], ["y"],
     functions=[fn], domains=["local"])
save("einsum", [N("Einsum", ["x", "w"], ["e"], equation="b...i,ij->b...j"), N("MatMul", ["e", "w"], ["m"]),
                N("Gemm", ["w", "w", "v"], ["g"], transA=1, alpha=0.5), N("Add", ["m", "v"], ["n"]), N("MatMul", ["n", "g"], ["y"])],
     [("x", T.FLOAT, [2, 3, 4])], ["y"], [f32("w", 4, 4), f32("v", 4)])
save("norms", [N("LayerNormalization", ["x", "v", "v"], ["l"]), N("Softmax", ["l"], ["s"]), N("LogSoftmax", ["s"], ["g"], axis=0),
               N("LpNormalization", ["g"], ["p"]), N("ReduceL2", ["p", "ax"], ["r"]), N("ArgMax", ["p"], ["a"]), N("Clip", ["r", "lo"], ["y"])],
     [("x", T.FLOAT, [3, 4])], ["y"], [f32("v", 4), i64("ax", 1), nh.from_array(np.float32(0.5), "lo")], opset=18)
save("resize", [N("Resize", ["x", "", "sc"], ["r"], mode="linear"), N("Resize", ["r", "", "", "sz"], ["q"], mode="cubic"),
                N("Pad", ["q", "pads"], ["p"], mode="reflect"), N("DepthToSpace", ["p"], ["y"], blocksize=2)],
     [("x", T.FLOAT, [1, 4, 4, "W"])], ["y"],
     [nh.from_array(np.array([1, 1, 2, 2], np.float32), "sc"), i64("sz", 1, 4, 6, 6), i64("pads", 0, 0, 1, 1, 0, 0, 1, -1)])
save("quant", [N("QuantizeLinear", ["x", "s", "z"], ["q"]), N("DequantizeLinear", ["q", "s", "z"], ["d"]),
               N("DynamicQuantizeLinear", ["d"], ["u", "us", "uz"]), N("MatMulInteger", ["u", "u", "uz"], ["m"]),
               N("Cast", ["m"], ["y"], to=T.FLOAT)],
     [("x", T.FLOAT, [4, 4])], ["y"], [nh.from_array(np.float32(0.1), "s"), nh.from_array(np.uint8(3), "z")])
save("old", [N("Upsample", ["x"], ["u"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]), N("Slice", ["u"], ["s"], starts=[0, 1], ends=[1, -1], axes=[2, 3]),
             N("Clip", ["s"], ["c"], min=0.0, max=6.0), N("Pad", ["c"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1]), N("Softmax", ["p"], ["f"]),
             N("Squeeze", ["f"], ["q"]), N("ReduceMean", ["q"], ["y"], axes=[0], keepdims=0)],
     [("x", T.FLOAT, [1, 2, 3, 4])], ["y"], opset=8)
save("index", [N("OneHot", ["i", "dep", "val"], ["o"]), N("CumSum", ["o", "ax"], ["c"]), N("GatherElements", ["c", "gi"], ["g"], axis=1),
               N("GatherND", ["g", "nd"], ["d"]), N("Range", ["r0", "r1", "r2"], ["r"]), N("ConstantOfShape", ["r"], ["k"]),
               N("Tile", ["g", "rep"], ["t"]), N("Expand", ["t", "one"], ["e"]), N("Trilu", ["e"], ["y"]), N("Where", ["w", "d", "d"], ["z"])],
     [("i", T.INT64, [2]), ("gi", T.INT64, [2, 2]), ("w", T.BOOL, [1])], ["y", "z", "k"],
     [nh.from_array(np.int64(3), "dep"), nh.from_array(np.array([0, 1], np.float32), "val"), nh.from_array(np.int64(1), "ax"), i64("nd", 1),
      nh.from_array(np.int64(1), "r0"), nh.from_array(np.int64(7), "r1"), nh.from_array(np.int64(2), "r2"), i64("rep", 2, 1), i64("one", 3, 1, 1)])
big = h.make_tensor("e", T.FLOAT, [4], b"\0" * 16, raw=True)
big.ClearField("raw_data")
big.data_location = T.EXTERNAL
for k, v in (("location", "w.bin"), ("offset", "0"), ("length", "16")):
    big.external_data.add(key=k, value=v)
save("external", [N("Add", ["x", "e"], ["y"])], [("x", T.FLOAT, [4])], ["y"], [big])
save("attention", [N("RotaryEmbedding", ["x", "t", "t"], ["q"], num_heads=2), N("Attention", ["q", "q", "x", "m"], ["a"], q_num_heads=2, kv_num_heads=2, is_causal=1),
                   N("RMSNormalization", ["a", "v"], ["n"]), N("Gelu", ["n"], ["y"], approximate="tanh")],
     [("x", T.FLOAT, [1, "S", 8]), ("m", T.BOOL, ["S", "S"]), ("t", T.FLOAT, [1, "S", 2])], ["y"], [f32("v", 8)], opset=23)
save("rnn", [N("LSTM", ["x", "w", "r", "b"], ["a", "h", "c"], hidden_size=2, direction="reverse"), N("Squeeze", ["a", "ax"], ["q"]),
             N("GRU", ["q", "gw", "gr"], ["g", "gh"], hidden_size=2, linear_before_reset=1), N("Identity", ["g"], ["y"])],
     [("x", T.FLOAT, ["T", 1, 3])], ["y", "c", "gh"],
     [f32("w", 1, 8, 3), f32("r", 1, 8, 2), f32("b", 1, 16), f32("gw", 1, 6, 2), f32("gr", 1, 6, 2), i64("ax", 1)])
save("misc", [N("SoftmaxCrossEntropyLoss", ["x", "t", "w"], ["l", "lp"], ignore_index=1), N("CenterCropPad", ["lp", "sz"], ["p"]),
              N("HannWindow", ["n"], ["hw"]), N("AffineGrid", ["th", "gs"], ["ag"]), N("Compress", ["p", "cond"], ["cp"], axis=0),
              N("Hardmax", ["cp"], ["y"]), N("ReverseSequence", ["p", "len"], ["rs"]), N("EyeLike", ["p"], ["e"]),
              N("LpPool", ["im"], ["lpp"], kernel_shape=[2, 2]), N("ConvTranspose", ["im", "im"], ["ct"], output_shape=[9, 9], strides=[2, 2])],
     [("x", T.FLOAT, [3, 4]), ("t", T.INT64, [3])], ["y", "l", "hw", "ag", "rs", "e", "lpp", "ct"],
     [f32("w", 4), i64("sz", 5, 3), nh.from_array(np.int64(8), "n"), f32("th", 1, 2, 3), i64("gs", 1, 1, 2, 3),
      nh.from_array(np.array([True, False, True]), "cond"), i64("len", 2, 1, 3), f32("im", 1, 1, 4, 4)], opset=20)
save("qlinear", [N("QLinearConv", ["q", "s", "z", "k", "s", "z", "s", "z"], ["a"]), N("QLinearMatMul", ["m", "s", "z", "m", "s", "z", "s", "z"], ["b"]),
                 N("ConvInteger", ["q", "k"], ["c"]), N("Cast", ["a"], ["y"], to=T.FLOAT), N("DequantizeLinear", ["b", "s"], ["w"])],
     [("q", T.UINT8, [1, 1, 4, 4]), ("m", T.UINT8, [2, 2])], ["y", "w", "c"],
     [nh.from_array(np.float32(0.1), "s"), nh.from_array(np.uint8(3), "z"), nh.from_array(np.ones((1, 1, 2, 2), np.uint8), "k")])


def sub(name, nodes, inputs, outputs, init=()):
    return h.make_graph(nodes, name, [h.make_tensor_value_info(n, t, None) for n, t in inputs],
                        [h.make_tensor_value_info(n, t, None) for n, t in outputs], list(init))


F, I, O = T.FLOAT, T.INT64, T.BOOL
listed = h.make_sequence_type_proto(h.make_tensor_type_proto(F, ["N"]))
body = sub("b", [N("Add", ["s", "e"], ["t"]), N("Mul", ["t", "u"], ["o"])], [("s", F), ("e", F), ("u", F)], [("t", F), ("o", F)])
save("scan", [N("Scan", ["s0", "x", "x"], ["s", "y"], body=body, num_scan_inputs=2, scan_input_axes=[0, 0], scan_input_directions=[0, 1],
                scan_output_axes=[1], scan_output_directions=[1])],
     [("s0", F, [2]), ("x", F, ["T", 2])], ["s", "y"], opset=16)
save("scan8", [N("Scan", ["n", "s0", "x", "x"], ["s", "y"], body=body, num_scan_inputs=2, directions=[0, 1])],
     [("n", I, [2]), ("s0", F, [2, 3]), ("x", F, [2, 3, 3])], ["s", "y"], opset=8)
step = sub("l", [N("Add", ["v", "v"], ["w"]), N("Less", ["i", "end"], ["d"]), N("SequenceAt", ["q", "i"], ["a"]), N("SequenceErase", ["q", "i"], ["r"]),
                 N("SequenceInsert", ["r", "w"], ["p"])], [("i", I), ("c", O), ("v", F), ("q", F)], [("d", O), ("w", F), ("p", F), ("a", F)])
save("loop", [N("SequenceConstruct", ["x", "x"], ["q0"]), N("Loop", ["n", "", "x", "q0"], ["w", "q", "y"], body=step)],
     [("x", F, [2]), ("n", I, []), ("end", I, [])], ["w", "q", "y"], opset=16)
add = sub("m", [N("Add", ["a", "b"], ["c"])], [("a", F), ("b", F)], [("c", F)])
save("sequence", [N("SequenceMap", ["s", "x"], ["m"], body=add), N("SequenceLength", ["m"], ["n"]), N("SequenceInsert", ["m", "x", "at"], ["i"]),
                  N("SequenceErase", ["i", "at"], ["e"]), N("SequenceAt", ["e", "m1"], ["f"]), N("ConcatFromSequence", ["e"], ["c"], axis=0),
                  N("SplitToSequence", ["c", "two"], ["p"], axis=0), N("SequenceEmpty", [], ["none"], dtype=I), N("Optional", ["p"], ["op"]),
                  N("OptionalHasElement", ["o"], ["has"]), N("OptionalGetElement", ["op"], ["g"]),
                  N("If", ["q"], ["z"], then_branch=sub("t", [N("Identity", ["s"], ["a"])], [], [("a", F)]),
                    else_branch=sub("e", [N("SequenceConstruct", ["x", "x"], ["b"])], [], [("b", F)]))],
     [("s", listed), ("o", h.make_optional_type_proto(listed)), ("x", F, [2]), ("at", I, []), ("q", O, [])], ["n", "f", "has", "g", "z"],
     [nh.from_array(np.int64(-1), "m1"), nh.from_array(np.int64(2), "two")], opset=18)
save("linear", [N("CausalConvWithState", ["x", "w"], ["c", "cs"], activation="silu"), N("LinearAttention", ["c", "k", "k", "", "g", "b"], ["l", "ls"], q_num_heads=2, kv_num_heads=1),
                N("CumProd", ["l", "ax"], ["p"], exclusive=1), N("OneHot", ["i", "d", "v"], ["y"])],
     [("x", F, [1, 4, 4]), ("k", F, [1, 4, 2]), ("g", F, [1, 4, 1]), ("b", F, [1, 4, 1]), ("i", I, [2]), ("d", I, [])], ["p", "cs", "ls", "y"],
     [f32("w", 4, 1, 3), nh.from_array(np.int64(1), "ax"), f32("v", 2)], opset=27)

# ---- fuzz_tensors: a letter for the kind of file in front ----
tensors = pathlib.Path(__file__).parent / "corpus" / "tensors"
tensors.mkdir(parents=True, exist_ok=True)
for name, t in (("f32", np.float32), ("f16", np.float16), ("i64", np.int64), ("bool", np.bool_), ("u8", np.uint8)):
    array = np.arange(6).reshape(2, 3).astype(t)
    buffer = io.BytesIO()
    np.save(buffer, array)
    (tensors / f"npy_{name}").write_bytes(b"n" + buffer.getvalue())
    (tensors / f"pb_{name}").write_bytes(b"p" + nh.from_array(array, name).SerializeToString())
for name, t, v in (("floats", T.FLOAT, [1, 2]), ("halves", T.FLOAT16, [1, 2]), ("bf16", T.BFLOAT16, [1, 2]), ("f8", T.FLOAT8E4M3FN, [1, 2]),
                   ("i4", T.INT4, [1, 2]), ("u2", T.UINT2, [1, 2]), ("f4", T.FLOAT4E2M1, [1, 2]), ("u32", T.UINT32, [1, 2]), ("f64", T.DOUBLE, [1, 2]), ("bools", T.BOOL, [1, 0]), ("text", T.STRING, [b"a", b"b"])):
    (tensors / f"pb_typed_{name}").write_bytes(b"p" + h.make_tensor(name, t, [2], v).SerializeToString())
two = [np.arange(3, dtype=np.float32), np.arange(2, dtype=np.float32)]
sequence = nh.from_list(two, "s")
for kind, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as z:
        member = io.BytesIO()
        np.save(member, np.arange(6, dtype=np.float32).reshape(2, 3))
        z.writestr(zipfile.ZipInfo("x.npy"), member.getvalue(), how)
    (tensors / f"npz_{kind}").write_bytes(b"z" + buffer.getvalue())
(tensors / "pb_sequence").write_bytes(b"s" + sequence.SerializeToString())
(tensors / "pb_optional").write_bytes(b"o" + nh.from_optional(two, "o").SerializeToString())
(tensors / "pb_optional_tensor").write_bytes(b"t" + nh.from_optional(np.arange(4, dtype=np.int64), "t").SerializeToString())
model = (out / "external.onnx").read_bytes()
(tensors / "external").write_bytes(b"e" + len(model).to_bytes(2, "little") + model + np.arange(4, dtype=np.float32).tobytes())
(tensors / "regress_empty_and_huge").write_bytes(b"p" + onnx.TensorProto(data_type=T.FLOAT, dims=[0, 2**60], name="x").SerializeToString())


# Nets so small that they are evaluated and optimised after every edit
def varint(v):
    return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)


def message(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def caffe(name, text, **weights):
    blobs = {k: [message(7, message(1, b"".join(map(varint, d)))) + message(5, np.linspace(-1, 1, int(np.prod(d)), dtype=np.float32).tobytes()) for d in v]
             for k, v in weights.items()}
    net = b"".join(message(100, message(1, k.encode()) + b"".join(message(7, b) for b in v)) for k, v in blobs.items())
    folder = out.parent / "caffe"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode() + b"\0" + net)


def layer(type, bottoms, top, rest=""):
    return f'layer {{ name: "{top}" type: "{type}" ' + " ".join(f'bottom: "{b}"' for b in bottoms.split()) + f' top: "{top}" {rest} }}\n'


data = 'input: "x" input_shape { dim: 1 dim: 4 dim: 4 dim: 4 }\n'
caffe("convs", data + layer("Convolution", "x", "c", "convolution_param { num_output: 2 kernel_h: 3 kernel_w: 2 pad: 1 dilation: 1 group: 2 }")
      + layer("Deconvolution", "c", "d", "convolution_param { num_output: 2 kernel_size: 2 stride: 2 bias_term: false }")
      + layer("ConvolutionDepthwise", "d", "w", "convolution_param { num_output: 2 kernel_size: 1 }")
      + layer("InnerProduct", "w", "y", "inner_product_param { num_output: 3 axis: 3 transpose: true }"),
      c=[(2, 2, 3, 2), (2,)], d=[(2, 2, 2, 2)], w=[(2, 1, 1, 1), (2,)], y=[(10, 3), (3,)])
caffe("pools", data + layer("Pooling", "x", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
      + layer("Pooling", "x", "m", "pooling_param { kernel_size: 2 round_mode: FLOOR stride: 1 }") + layer("Eltwise", "p m", "e", "eltwise_param { operation: MAX }")
      + layer("LRN", "e", "l", "lrn_param { local_size: 3 }") + layer("LRN", "l", "w", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }")
      + layer("Pooling", "w", "y", "pooling_param { global_pooling: true }"))
caffe("norms", data + layer("BatchNorm", "x", "b") + layer("Scale", "b", "s", "scale_param { bias_term: true }") + layer("Bias", "s", "i", "bias_param { axis: 0 num_axes: -1 }")
      + layer("MVN", "i", "m") + layer("Normalize", "m", "n") + layer("PReLU", "n", "r") + layer("Softmax", "r", "y") + layer("Embed", "y", "z", "embed_param { num_output: 2 input_dim: 3 }"),
      b=[(4,), (4,), (1,)], s=[(4,), (4,)], i=[(1, 4, 4, 4)], n=[(1,)], r=[(4,)], z=[(3, 2), (2,)])
caffe("elementwise", data + layer("ReLU", "x", "a", "relu_param { negative_slope: 0.1 }") + layer("ELU", "a", "a") + layer("Power", "a", "b", "power_param { power: 2 scale: 0.5 shift: 1 }")
      + layer("Exp", "b", "c", "exp_param { base: 2 }") + layer("Log", "c", "d") + layer("Eltwise", "a d", "e", "eltwise_param { coeff: 1 coeff: -1 }")
      + layer("Threshold", "e", "f") + layer("ReLU6", "e", "g") + layer("Scale", "g f", "y", "scale_param { axis: 0 }"))
caffe("moves", data + layer("Reshape", "x", "r", "reshape_param { shape { dim: 0 dim: -1 dim: 2 } axis: 1 num_axes: 2 }") + layer("Flatten", "x", "f", "flatten_param { axis: 2 }")
      + layer("Permute", "x", "p", "permute_param { order: 0 order: 2 order: 3 order: 1 }") + layer("Tile", "p", "t", "tile_param { axis: 2 tiles: 2 }")
      + layer("Crop", "t x", "c", "crop_param { axis: 2 offset: 1 offset: 0 }") + layer("Concat", "c x", "y", "concat_param { axis: 1 }")
      + 'layer { type: "Slice" bottom: "y" top: "s" top: "u" slice_param { slice_point: 3 } }\n')
caffe("reduces", data + layer("Reduction", "x", "r", "reduction_param { operation: SUMSQ axis: 2 coeff: 2 }") + layer("ArgMax", "x", "a", "argmax_param { out_max_val: true top_k: 2 }")
      + layer("ArgMax", "x", "b", "argmax_param { axis: 1 }") + layer("DummyData", "", "d", 'dummy_data_param { shape { dim: 1 dim: 4 } data_filler { type: "constant" value: 2 } }')
      + layer("Eltwise", "r d", "y"))
caffe("resizes", data + layer("Upsample", "x", "u", "upsample_param { scale: 2 }") + layer("Reorg", "u", "o", "reorg_param { stride: 2 }") + layer("ShuffleChannel", "o", "s", "shuffle_channel_param { group: 4 }")
      + layer("Interp", "s", "i", "interp_param { height: 3 width: 2 pad_beg: -1 }") + layer("Interp", "x u", "y") + layer("Reorg", "y", "z", "reorg_param { stride: 2 reverse: true }"))
caffe("ssd", 'input: "l" input_shape { dim: 1 dim: 32 } input: "c" input_shape { dim: 1 dim: 24 } input: "m" input_shape { dim: 1 dim: 1 dim: 2 dim: 2 }\n'
      + layer("PriorBox", "m m", "p", "prior_box_param { min_size: 1 max_size: 2 aspect_ratio: 1 variance: 0.1 clip: true }")
      + layer("DetectionOutput", "l c p", "y", "include { phase: TEST } detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.4 top_k: 5 } code_type: CENTER_SIZE keep_top_k: 4 confidence_threshold: 0.1 }"))
caffe("segnet", data + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }\n'
      + layer("BN", "p", "n") + layer("Upsample", "n m", "y", "upsample_param { upsample_h: 4 upsample_w: 4 }") + layer("Swish", "y", "s", "swish_param { beta: 2 }")
      + layer("Clip", "y", "c", "clip_param { min: -1 max: 1 }") + layer("Pooling", "x", "g", "pooling_param { global_pooling: true }") + layer("Axpy", "g s c", "a")
      + layer("Parameter", "", "q", "parameter_param { shape { dim: 1 dim: 4 } }") + layer("Scale", "a q", "z", "scale_param { axis: 0 }") + layer("Mish", "z", "h"),
      n=[(4,), (4,), (4,), (4,)], q=[(1, 4)])
caffe("v1", "input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 3\nlayers { name: 'c' type: CONVOLUTION bottom: 'x' top: 'c' convolution_param { num_output: 2 kernel_size: 2 } }\n"
      "layers { name: 't' type: TANH bottom: 'c' top: 'c' include { phase: TEST } }\nlayers { name: 'p' type: POOLING bottom: 'c' top: 'y' pooling_param { pool: MAX kernel_size: 2 } }\n", c=[(2, 2, 2, 2), (2,)])
caffe("v0", "input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 3\nlayers { layer { name: 'c' type: 'conv' num_output: 2 kernelsize: 2 pad: 1 } bottom: 'x' top: 'c' }\n"
      "layers { layer { name: 'd' type: 'padding' pad: 1 } bottom: 'c' top: 'd' }\nlayers { layer { name: 'p' type: 'pool' pool: AVE kernelsize: 2 stride: 2 } bottom: 'd' top: 'y' }\n"
      "layers { layer { name: 'n' type: 'lrn' local_size: 3 } bottom: 'y' top: 'z' }\n", c=[(2, 2, 2, 2), (2,)])
