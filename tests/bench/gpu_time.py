"""gpu_time.py: what PyTorch takes on the GPU."""
import time

import torch


def time_graph(fn, seconds, ahead=1):
    """Median milliseconds of replays of the CUDA graph that a call makes.  ahead: how many are enqueued before the host waits; with several
    the GPU never rests between them, as in `tenon bench`, and a time is that from one's end to the next one's."""
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
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(ahead + 1)]
        marks[0].record()
        for m in marks[1:]:
            g.replay()
            m.record()
        marks[-1].synchronize()
        times += [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]
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
