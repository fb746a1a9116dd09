"""Says what strangers can cause at will, but not as often as they do: a log is on a disk that others need too."""

from __future__ import annotations

import logging
import time
from typing import Final

PERIOD_S: Final = 1.0


class SparingLog:
    """A log that takes a line a second; what comes in between is counted and told with the next."""

    def __init__(self, log: logging.Logger) -> None:
        """Write to `log`."""
        self._log = log
        self._last_s = -PERIOD_S
        self._kept_back = 0

    def info(self, text: str) -> None:
        """Write a line, unless there was one a moment ago."""
        now_s = time.monotonic()
        if now_s - self._last_s < PERIOD_S:
            self._kept_back += 1
            return
        more = f" (and {self._kept_back} more since the last)" if self._kept_back else ""
        self._log.info("%s%s", text, more)
        self._last_s, self._kept_back = now_s, 0
