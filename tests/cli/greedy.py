"""greedy.py MODEL PROMPT N: what ONNX Runtime generates with a decoder of examples/decoder, whose tokens are bytes."""
import sys

import numpy as np
import onnxruntime

s = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
ids, written = list(sys.argv[2].encode()), []
past = [i.name for i in s.get_inputs() if i.name.startswith("past")]
cache = [np.zeros((1, 2, 0, 8), np.float32) for _ in past]
new = ids
while len(written) < int(sys.argv[3]):
    seen = len(ids) - len(new)
    numbers = {"input_ids": np.int64([new]), "attention_mask": np.ones((1, len(ids)), np.int64), "position_ids": np.int64([range(seen, len(ids))])}
    logits, *cache = s.run(None, numbers | dict(zip(past, cache)))
    new = [int(logits[0, -1].argmax())]
    written += new
    ids += new
sys.stdout.write(bytes(written).decode() + "\n")
