"""A Triton server on this machine's loopback, and a client of its HTTP interface that needs NumPy alone."""
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import numpy as np

TYPES = {"BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
         "FP32": np.float32, "FP64": np.float64}
NAMES = {np.dtype(t): n for n, t in TYPES.items()}


class Refused(Exception):
    """An answer that is no success: str() is what the server said."""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Server:
    """with Server(binary, repository, backends) as s: ...; nothing outlives it."""

    def __init__(self, binary, repository, backends, log, env=None, arguments=()):
        self.port, self.grpc_port = free_ports(2)
        self.log = log
        command = [binary, f"--model-repository={repository}", f"--backend-directory={backends}", "--http-address=127.0.0.1",
                   f"--http-port={self.port}", "--grpc-address=127.0.0.1", f"--grpc-port={self.grpc_port}", "--allow-metrics=false",
                   "--model-control-mode=explicit", "--exit-timeout-secs=20", *arguments]
        with open(log, "w") as f:
            self.process = subprocess.Popen(command, stdout=f, stderr=f, env={**os.environ, **(env or {})})

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                Client(self.port).get("/v2/health/ready")
                return self
            except (OSError, Refused, http.client.HTTPException):
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("the server does not start:\n" + self.said()[-2000:])

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def memory(self):
        """Bytes of its memory that are resident and no file's."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon"))


class Client:
    """One connection; for one thread."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        r = self.connection.getresponse()
        data = r.read()
        if r.status != 200:
            try:
                raise Refused(json.loads(data)["error"])
            except (ValueError, KeyError):
                raise Refused(f"{r.status} {data!r}") from None
        return data, r.headers

    def get(self, path):
        data, _ = self.request("GET", path)
        return json.loads(data) if data else None

    def load(self, model, config=None):
        body = {"parameters": {"config": json.dumps(config)}} if config else {}
        self.request("POST", f"/v2/repository/models/{model}/load", json.dumps(body))

    def infer(self, model, inputs, outputs=None, **parameters):
        """{name: array} -> {name: array}, all of it binary."""
        head, blobs = self.message(inputs, outputs, parameters)
        data, headers = self.request("POST", f"/v2/models/{model}/infer", head + b"".join(blobs),
                                     {"Inference-Header-Content-Length": str(len(head))})
        at = int(headers.get("Inference-Header-Content-Length", len(data))) # without one nothing follows
        out = {}
        for o in json.loads(data[:at])["outputs"]:
            size = o["parameters"]["binary_data_size"]
            out[o["name"]] = np.frombuffer(data[at:at + size], TYPES[o["datatype"]]).reshape(o["shape"])
            at += size
        return out

    @staticmethod
    def message(inputs, outputs, parameters):
        blobs = [np.ascontiguousarray(v).tobytes() for v in inputs.values()]
        head = {"inputs": [{"name": k, "shape": list(v.shape), "datatype": NAMES[v.dtype],
                            "parameters": {"binary_data_size": len(b)}} for (k, v), b in zip(inputs.items(), blobs)],
                "parameters": {"binary_data_output": True, **parameters}}
        if outputs is not None:
            head["outputs"] = [{"name": n, "parameters": {"binary_data": True}} for n in outputs]
        return json.dumps(head).encode(), blobs
