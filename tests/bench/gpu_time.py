"""gpu_time.py: what PyTorch takes on the GPU."""
import time

import torch


def time_graph(fn, seconds):
    """Median milliseconds of replays of the CUDA graph that a call makes."""
    s = torch.cuda.Stream()
    s.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(s), torch.inference_mode():
        for _ in range(3):
            fn()
    torch.cuda.current_stream().wait_stream(s)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(g):
        fn()
    end = time.time() + .2
    while time.time() < end:
        g.replay()
    torch.cuda.synchronize()
    times, end = [], time.time() + seconds
    while time.time() < end or len(times) < 20:
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        g.replay()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b))
    return sorted(times)[len(times) // 2]


def time_calls(fn, seconds):
    """Median milliseconds between events around a call that PyTorch launches kernel by kernel."""
    for _ in range(5):
        fn()
    times, end = [], time.time() + seconds
    while time.time() < end or len(times) < 5:
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        fn()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b))
    return sorted(times)[len(times) // 2]
