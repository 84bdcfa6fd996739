#!/usr/bin/env python3
"""Writes the decoders of this folder as PyTorch exports them from transformers, and what PyTorch generates with them.

usage: make.py [FOLDER]          (needs torch, transformers, onnx, onnxscript)

A Llama with random weights, two layers, grouped queries, in the form that Optimum exports: flat past_key_values.N.key and .value.
script.onnx is of the exporter that traces, dynamo.onnx of the one that captures; their stack traces are taken out.  tokens.txt: the
prompt, then what follows it greedily, with PyTorch's float32 on the CPU; the margin between the best two logits is checked."""
import os
import sys
import warnings

import onnx
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

LAYERS, PROMPT, STEPS = 2, [3, 17, 40, 9, 22], 24
warnings.filterwarnings("ignore")
folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(5)
llama = LlamaForCausalLM(LlamaConfig(
    vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
    head_dim=8, max_position_embeddings=128, tie_word_embeddings=False, attn_implementation="sdpa")).eval()
for p in llama.parameters():
    p.data.normal_(0, 0.25) if p.dim() > 1 else p.data.uniform_(0.5, 1.5)


class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.llama = llama

    def forward(self, input_ids, attention_mask, position_ids, *past):
        cache = DynamicCache()
        for k in range(LAYERS):
            cache.update(past[2 * k], past[2 * k + 1], k)
        y = self.llama(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=cache, use_cache=True)
        return (y.logits, *(t for layer in y.past_key_values.layers for t in (layer.keys, layer.values)))


def export():
    past = [torch.randn(2, 2, 5, 8) for _ in range(2 * LAYERS)]
    given = (torch.randint(0, 48, (2, 3)), torch.ones(2, 8, dtype=torch.int64), torch.arange(5, 8).repeat(2, 1), *past)
    caches = [f"{k}.{n}" for k in range(LAYERS) for n in ("key", "value")]
    names = dict(input_names=["input_ids", "attention_mask", "position_ids"] + ["past_key_values." + c for c in caches],
                 output_names=["logits"] + ["present." + c for c in caches])
    axes = {"input_ids": {0: "batch", 1: "sequence"}, "attention_mask": {0: "batch", 1: "total"}, "position_ids": {0: "batch", 1: "sequence"}}
    axes |= {"past_key_values." + c: {0: "batch", 2: "past"} for c in caches}
    any_size = torch.export.Dim.DYNAMIC
    sizes = [{0: any_size, 1: any_size}] * 3 + [tuple({0: any_size, 2: any_size} for _ in past)]
    torch.onnx.export(Flat(), given, os.path.join(folder, "script.onnx"), dynamic_axes=axes, dynamo=False, opset_version=17, **names)
    torch.onnx.export(Flat(), given, os.path.join(folder, "dynamo.onnx"), dynamic_shapes=tuple(sizes), dynamo=True, external_data=False,
                      verbose=False, **names)


def strip(name):
    path = os.path.join(folder, name)
    model = onnx.load(path)
    for of in [model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        of.ClearField("metadata_props")
        of.ClearField("doc_string")
    model.graph.ClearField("value_info")
    onnx.save(model, path)


def generate():
    ids = list(PROMPT)
    with torch.no_grad():
        for _ in range(STEPS):
            best = llama(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
            assert best.values[0] - best.values[1] > 1e-2, "too close: another seed"
            ids.append(best.indices[0].item())
    with open(os.path.join(folder, "tokens.txt"), "w") as f:
        print(",".join(map(str, PROMPT)), file=f)
        print("".join(f" {t}" for t in ids[len(PROMPT):]), file=f)


generate()
export()
strip("script.onnx")
strip("dynamo.onnx")
