#!/usr/bin/env python3
"""A decoder writes, a token at a time, with a KV cache that grows in place: examples/generate.c in Python.

usage: generate.py [MODEL.onnx] [--prompt TEXT] [--tokens N] [--length N] [--device cuda|cpu|emu]

Of any model with the names of a Hugging Face export whose tokens are bytes, as examples/decoder/decoder.onnx, the default; others have a tokenizer of
their own to put in place of encode and decode.  On the device cuda the tokens are PyTorch's tensors on the GPU.
"""

import argparse
import os

import numpy as np

import tenon


def encode(text):
    return list(text.encode())


def decode(tokens):
    return bytes(tokens).decode(errors="replace")


def compile_decoder(model, device, length):
    """One plan for the prompt and for each token: two buckets get kernels of their own."""
    shapes = {"input_ids": [(1, (1, length, 1)), (1, (1, length, 64))],
              "past_key_values.*": [(1, None, (0, length - 1, length // 2), None), (1, None, (0, length - 1, 0), None)]}
    return tenon.compile(model, device=device, shapes=shapes, progress=device == "cuda")


def generate(plan, prompt, tokens):
    """The tokens behind a prompt's; the one with the largest logit each time."""
    asked = {info.name for info in plan.inputs}
    cache, written, given = plan.cache(), [], prompt

    def array(values):
        a = np.array([values], np.int64)
        if plan.device != "cuda":
            return a
        import torch
        return torch.from_numpy(a).cuda()

    while len(written) < tokens:
        before, after = cache.length, cache.length + len(given)
        inputs = {"input_ids": given, "attention_mask": [1] * after, "position_ids": list(range(before, after))}
        logits = plan.run({k: array(v) for k, v in inputs.items() if k in asked}, cache=cache)["logits"]
        given = [int(logits[0, -1].argmax())]
        written += given
    return written


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    a = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    a.add_argument("model", nargs="?", default=os.path.join(here, "decoder", "decoder.onnx"))
    a.add_argument("--prompt", default="the small")
    a.add_argument("--tokens", type=int, default=40)
    a.add_argument("--length", type=int, default=192)
    a.add_argument("--device", default="cpu", choices=("cuda", "cpu", "emu"))
    args = a.parse_args()
    prompt = encode(args.prompt)
    read = len(prompt) + args.tokens - 1  # the last token is not read
    if not prompt or read > args.length:
        a.error(f"a prompt of {len(prompt)} tokens and {args.tokens} behind it take --length {read} (it is {args.length})"
                if prompt else "the prompt has no tokens")
    plan = compile_decoder(args.model, args.device, args.length)
    print(args.prompt + decode(generate(plan, prompt, args.tokens)))


if __name__ == "__main__":
    main()
