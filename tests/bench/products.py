#!/usr/bin/env python3
"""Times of matrix products on Hopper by how the blocks of gemm_wgmma share tiles, beside cuBLASLt.

usage: products.py [--matrix build/tests/kernel_matrix] [--layers vit_one_qkv,gpt2_up,...] [--ways plain,2x1,...] [--top 3]

Runs kernel_matrix --perf on products of tests/kernels/large/layers.tn and prints, in microseconds, the fastest of the --top
variants that the cost model likes best of each way: `plain` has no clusters, MxN clusters of M tiles along m and N along n, a p
behind it two warpgroups that take tiles in turns.  Then each layer's fastest variant of all.  Needs a GPU of sm_90."""
import argparse
import re
import subprocess

LAYERS = ("vit_one_qkv,vit_one_out,vit_one_up,vit_one_down,gpt2_qkv,gpt2_out,gpt2_up,gpt2_down,gpt2_head,llama_qkv,llama_gate_up,"
          "llama_down,bert_up,bert_out,bert_down,vit_qkv,vit_up,vit_down,square")
WAYS = "plain,2x1,1x2,4x1,2x2,1x4,1x1p,2x1p,1x2p"
TIME = re.compile(r"^ +([\d.]+) us .* error +\S+  (.*)$")


def knobs_of(way):
    m, n, pingpong = re.fullmatch(r"(\d)x(\d)(p?)", "1x1" if way == "plain" else way).groups()
    return f"CLUSTER_M={m} CLUSTER_N={n} PINGPONG={int(pingpong != '')}"


def measure(matrix, layer, way, top):
    """Microseconds and the text of each candidate that is right, cuBLASLt's among them."""
    out = subprocess.run([matrix, "--perf", "--top", str(top), "--case", f"layers:{layer}/text", "--variant", knobs_of(way)],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if out.returncode == 77:
        raise SystemExit(out.stdout.strip())
    found = [(float(m[1]), m[2]) for m in map(TIME.match, out.stdout.splitlines()) if m]
    if out.returncode:
        print(out.stdout)
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--matrix", default="build/tests/kernel_matrix")
    p.add_argument("--layers", default=LAYERS)
    p.add_argument("--ways", default=WAYS)
    p.add_argument("--top", type=int, default=3)
    a = p.parse_args()
    ways = a.ways.split(",")
    print(f"{'layer':14} {'cuBLASLt':>9}" + "".join(f"{w:>9}" for w in ways) + "  fastest")
    for layer in a.layers.split(","):
        best, library = {}, []
        for way in ways:
            found = measure(a.matrix, layer, way, a.top)
            library += [t for t, text in found if not text.startswith("gemm_wgmma")]
            own = [f for f in found if f[1].startswith("gemm_wgmma")]
            if own:
                best[way] = min(own)
        shown = "".join(f"{best[w][0]:9.2f}" if w in best else f"{'-':>9}" for w in ways)
        print(f"{layer:14} {min(library) if library else float('nan'):9.2f}{shown}  {min(best.values())[1] if best else '-'}", flush=True)


if __name__ == "__main__":
    main()
