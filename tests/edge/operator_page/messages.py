"""Results as a runtime tells them, for the tests of the operators' page."""

import time
from typing import Any

from schemas.messages import Latency, Outcome, Quality, Result, Verdict


def result(seq: int, verdict: Verdict = Verdict.OK, **other: Any) -> Result:
    """The `seq`-th result of the pipeline `inspect`, of the frame of the same number."""
    fields: dict[str, Any] = {
        "result_id": f"inspect-1-{seq}", "pipeline": "inspect", "input": "cam1", "source_epoch": 1, "source_seq": seq,
        "part_id": 1000 + seq, "outcome": Outcome.RESULT, "verdict": verdict,
        "label": "scratch" if verdict is Verdict.NOK else "good", "score": 0.9,
        "scores": {"good": 0.1, "scratch": 0.9}, "quality": Quality.GOOD, "reason": "",
        "latency": Latency(ingest=1, queue=1, preprocess=1, infer=2, total=5), "deadline_ms": 50.0, "model": "caps",
        "version": "1", "digest": "ab", "time_ns": time.time_ns(), "epoch": 1, "seq": seq,
    }  # fmt: skip
    return Result(**fields | other)
