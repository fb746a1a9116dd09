"""A closed loop client for the V2 gRPC protocol, run in MLServer's environment: requests serialised beforehand."""

import queue
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from mlserver.grpc.dataplane_pb2 import ModelInferRequest, ModelInferResponse

ROOT = Path(__file__).resolve().parent.parent.parent.parent
sys.path.insert(0, str(ROOT))  # this environment does not know our packages; the loop needs none of theirs

from tests.bench.closed_loop import Answer, play  # noqa: E402 - the line above finds it

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class OverGrpc:
    """One request at a time is a blocking call, more are futures of one channel."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Connect to `port`; `images` is a .npy file."""
        self._requests = [self._request(image) for image in np.load(spec["images"])]
        self._call = grpc.insecure_channel(f"127.0.0.1:{spec['port']}").unary_unary(METHOD)
        self._came: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._blocking, self._asked = True, 0

    def _request(self, image: Any) -> bytes:
        request = ModelInferRequest(model_name="caps")
        tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(image.tobytes())
        found: bytes = request.SerializeToString()
        return found

    def open(self, in_flight: int) -> None:
        """Choose how to call."""
        self._blocking = in_flight == 1

    def send(self, seq: int) -> None:
        """Call, or remember to."""
        self._asked = seq
        if not self._blocking:
            call = self._call.future(self._requests[seq % len(self._requests)])
            call.add_done_callback(lambda done: self._came.put((seq, time.monotonic_ns(), _reply(done))))

    def receive(self, timeout_s: float) -> list[Answer]:
        """Wait for the next answer."""
        if self._blocking:
            reply = self._call(self._requests[self._asked % len(self._requests)], timeout=timeout_s)
            return [(self._asked, time.monotonic_ns(), reply)]
        try:
            return [self._came.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def content(self, seq: int, reply: Any) -> tuple[int, list[float]]:
        """See `Transport`."""
        output = ModelInferResponse.FromString(reply).outputs[0]
        return seq % len(self._requests), list(output.contents.fp32_contents)


def _reply(call: Any) -> Any:
    return None if call.code() is not grpc.StatusCode.OK else call.result()


if __name__ == "__main__":
    play(OverGrpc)
