#!/usr/bin/env python3
"""torch.compile with the backend "tenon" (pip install ./frontend/python torch; no GPU needed)."""

import torch

import tenon.torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                            torch.nn.Flatten(), torch.nn.Linear(16, 10)).eval()
x = torch.randn(4, 3, 32, 32)
if torch.cuda.is_available():
    model, x = model.cuda(), x.cuda()

with torch.no_grad():
    compiled = torch.compile(model, backend="tenon")  # options={"precision": "fp16"}
    error = (compiled(x) - model(x)).abs().max().item()
print(tenon.torch.explain(model, x))
print(f"max difference from PyTorch: {error:.2g}")
assert error < 1e-4
