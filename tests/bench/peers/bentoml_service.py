"""BentoML's side: the raw body in, eight bytes out, run on the service's own loop. Environment: MODEL, WORKERS."""

import os

import bentoml
import numpy as np
import onnxruntime
from _bentoml_sdk.io_models import IODescriptor  # the one way to a raw body; a Path input would be a temporary file
from starlette.requests import Request
from starlette.responses import Response


class Body(IODescriptor):
    """The request's body as it is."""

    body: bytes

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> "Body":
        """Skip BentoML's codecs."""
        return cls.model_construct(body=await request.body())


@bentoml.service(
    name="caps", workers=int(os.environ["WORKERS"]), metrics={"enabled": False}, logging={"access": {"enabled": False}}
)
class Caps:
    """Runs the model."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api(input_spec=Body)
    async def classify(self, body: bytes):  # type: ignore[no-untyped-def]  # an annotation would be taken for a schema
        image = np.frombuffer(body, np.uint8).reshape(1, 64, 64, 3)
        found = self._session.run(None, {"image": image})[0]
        return Response(found.tobytes(), media_type="application/octet-stream")
