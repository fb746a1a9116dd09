"""LitServe's side: the raw body in, eight bytes out. Arguments: model, port, workers, `zmq` or `pipe`."""

import sys
from typing import Annotated

import litserve
import numpy as np
import onnxruntime
from fastapi import Depends, Request, Response

MODEL, PORT, WORKERS, QUEUE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


async def _body(request: Request) -> bytes:
    return await request.body()


class Caps(litserve.LitAPI):
    """Runs the model in a worker process."""

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Annotated[bytes, Depends(_body)]) -> np.ndarray:
        return np.frombuffer(request, np.uint8).reshape(1, 64, 64, 3)

    def predict(self, image: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"image": image})[0]

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(
        Caps(), accelerator="cpu", workers_per_device=WORKERS, fast_queue=QUEUE == "zmq", timeout=False
    )
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, log_level="warning", generate_client_file=False)
