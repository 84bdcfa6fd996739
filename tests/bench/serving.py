#!/usr/bin/env python3
"""Throughput of a model in a Triton server, with dynamic batching, beside that of its plan alone (`tenon bench`).

usage: serving.py MODEL --shape input=1..32x3x224x224 [--device cuda|cpu] [--precision fp16] [--clients 1,2,4,8,16,32,64]

The model is compiled once. Clients are processes on this machine, each with a connection over which it sends one row at a time (or --rows) in
HTTP's binary form, and waits for the answer. Prints rows a second, the mean rows of a batch, the median and 99th percentile of latency,
and the ratio to the plan alone: its largest batch, inputs and outputs copied from and to the host, two at a time on a GPU.
Needs NumPy, and a tritonserver (.ci/install-deps fetches one, which runs without a GPU too)."""
import argparse
import json
import multiprocessing
import pathlib
import sys
import tempfile
import time

import numpy as np

from process import output_of

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "triton"))
from server import TYPES, Client, Refused, Server

KINDS = {"cuda": "kind: KIND_GPU", "cpu": "kind: KIND_CPU"}


def client(port, model, message, begin, seconds, results):
    """Sends the same request until the time is over."""
    head, blobs = message
    body, headers, times = head + b"".join(blobs), {"Inference-Header-Content-Length": str(len(head))}, []
    c = Client(port)
    path = f"/v2/models/{model}/infer"
    begin.wait()
    start = now = time.perf_counter()
    while now < start + seconds:
        c.request("POST", path, body, headers)
        then, now = now, time.perf_counter()
        times.append(now - then)
    results.put((times, now - start))


def load(port, model, message, n, seconds):
    """n clients at once: requests a second, their latencies."""
    begin, results = multiprocessing.Barrier(n), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=client, args=(port, model, message, begin, seconds, results), daemon=True)
               for _ in range(n)]
    for w in workers:
        w.start()
    got = [results.get(timeout=seconds + 120) for _ in workers]
    for w in workers:
        w.join()
    return sum(len(t) / s for t, s in got), np.concatenate([t for t, _ in got])


def inputs_of(config, rows, sizes):
    """Random ones; sizes that are open are `sizes` of them."""
    rng, out = np.random.default_rng(0), {}
    for i in config["input"]:
        dims = [rows] * (config["max_batch_size"] > 0) + [d if d >= 0 else sizes.get(i["name"], 8) for d in i["dims"]]
        dtype = TYPES[i["data_type"].removeprefix("TYPE_")]
        out[i["name"]] = (rng.standard_normal(dims) if np.dtype(dtype).kind == "f" else np.ones(dims)).astype(dtype)
    return out


def batches(c, model):
    x = c.get(f"/v2/models/{model}/stats")["model_stats"][0]
    return x["inference_count"], x["execution_count"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--shape", action="append", default=[], help="as of tenon compile; axis 0 is the batch")
    p.add_argument("--open-size", action="append", default=[], metavar="NAME=N", help="of an input's other open sizes")
    p.add_argument("--device", choices=KINDS, default="cuda")
    p.add_argument("--precision", default="fp32")
    p.add_argument("--tune-seconds", default="60")
    p.add_argument("--rows", type=int, default=1, help="of a request")
    p.add_argument("--clients", default="1,2,4,8,16,32,64")
    p.add_argument("--instances", type=int, help="default: 2 on a GPU, 1 on the CPU")
    p.add_argument("--delay-us", type=int, default=0, help="how long a batch may wait for more")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    p.add_argument("--server", default=HERE.parents[1] / ".cache/triton/pytriton/tritonserver/bin/tritonserver")
    p.add_argument("--out", help="a JSON file")
    a = p.parse_args()
    gpu, tenon = a.device == "cuda", a.build / "tenon"
    count = a.instances or (2 if gpu else 1)
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder, "models")
        plan = repository / "model/1/model.plan"
        plan.parent.mkdir(parents=True)
        target = ["--tune-seconds", a.tune_seconds] if gpu else ["--no-gpu", "--target", "sm_90a"]
        output_of([tenon, "compile", a.model, "-o", plan, "--precision", a.precision, *target,
                   *(x for s in a.shape for x in ("--shape", s))])
        alone = json.loads(output_of([tenon, "bench", plan, "--device", a.device, "--sizes", "max", "--seconds", str(a.seconds),
                                      "--json", *(["--infer-streams", "2"] if gpu else [])]))
        (repository / "model/config.pbtxt").write_text(
            f'backend: "tenon"\ninstance_group [ {{ {KINDS[a.device]} count: {count} }} ]\n')
        with Server(a.server, repository, a.build / "triton", pathlib.Path(folder, "log")) as s:
            c = Client(s.port)
            c.load("model")
            config = c.get("/v2/models/model/config")
            if not config["max_batch_size"]:
                raise SystemExit("the plan has no batch: give --shape a range as axis 0 of all inputs")
            if a.delay_us:
                config["dynamic_batching"]["max_queue_delay_microseconds"] = a.delay_us
                c.load("model", config)
            best = alone["sizes"][0]["throughput"] * config["max_batch_size"]
            print(f"the plan alone: {best:.1f} rows/s in batches of {config['max_batch_size']}")
            sizes = {k: int(v) for k, v in (x.split("=") for x in a.open_size)}
            message = Client.message(inputs_of(config, a.rows, sizes), None, {})
            load(s.port, "model", message, 2, min(1, a.seconds))
            rows = [measure(s.port, message, n, a, best) for n in map(int, a.clients.split(","))]
    if a.out:
        pathlib.Path(a.out).write_text(json.dumps({"alone": best, "max_batch_size": config["max_batch_size"], "clients": rows}))


def measure(port, message, n, a, best):
    c = Client(port)
    before = batches(c, "model")
    try:
        per_s, times = load(port, "model", message, n, a.seconds)
    except Refused as e:
        raise SystemExit(f"the server refuses: {e}") from None
    after = batches(c, "model")
    x = {"clients": n, "rows_per_s": per_s * a.rows, "rows_of_a_batch": (after[0] - before[0]) / max(1, after[1] - before[1]),
         "p50_ms": float(np.median(times)) * 1e3, "p99_ms": float(np.quantile(times, 0.99)) * 1e3}
    print(f"{n:3} clients: {x['rows_per_s']:9.1f} rows/s, {x['rows_per_s'] / best:4.0%}, {x['rows_of_a_batch']:5.1f} a batch, "
          f"latency {x['p50_ms']:.2f} ms, 99 % {x['p99_ms']:.2f} ms", flush=True)
    return x


if __name__ == "__main__":
    main()
