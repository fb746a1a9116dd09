"""A healthy client of an HTTP server, in a process of its own: asks again and again, each time by a new connection.

`python -m tests.pulse PORT PATH` until a line comes on stdin; then prints how many answers came, and the slowest (ms).
"""

import http.client
import json
import select
import sys
import time

EVERY_S = 0.05
PATIENCE_S = 30.0


def asked(port: int, path: str) -> int:
    """The status of one answer; 0 where there is none."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("GET", path)
        return link.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        link.close()


def main() -> None:
    """Ask until told to end."""
    port, path = int(sys.argv[1]), sys.argv[2]
    counts: dict[int, int] = {}
    slowest_s = 0.0
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        began = time.monotonic()
        status = asked(port, path)
        slowest_s = max(slowest_s, time.monotonic() - began)
        counts[status] = counts.get(status, 0) + 1
    print(json.dumps({"statuses": counts, "slowest_ms": round(slowest_s * 1e3)}))


if __name__ == "__main__":
    main()
