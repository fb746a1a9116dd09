"""MLServer's side: a runtime of its own for the model, its image one BYTES element, in the process of the server.

As UINT8 the image would become a Python list of 12288 numbers on its way through the V2 codec.
"""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Caps(MLModel):
    """Runs `parameters.uri`."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        uri = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = np.frombuffer(payload.inputs[0].data[0], np.uint8).reshape(1, 64, 64, 3)
        found = self._session.run(None, {"image": image})[0][0]
        output = ResponseOutput(name="probabilities", shape=[2], datatype="FP32", data=found.tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
