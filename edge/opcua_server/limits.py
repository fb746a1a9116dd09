"""What the server gives to whom at most. What a person may want to change is in `[opcua.limits]`."""

from __future__ import annotations

from typing import Final

MOST_NODES_PER_CALL: Final = 1000  # of a Read, Browse or CreateMonitoredItems: some 20 ms of the loop
MOST_WRITES_PER_CALL: Final = 32  # a source takes 40 writes a second
MOST_VISION_CALLS: Final = 8  # of one Call: each may look through 10,000 results
CHUNK_BYTES: Final = 65535
REQUEST_BYTES: Final = 1024 * 1024
OPENING_BYTES: Final = 16 * 1024  # of a request without a session: the URL in it is kept in a cache of Python's
REQUEST_ELEMENTS: Final = 12_000  # of all arrays of a request but numbers: some 0.3 s of the loop to read
WAITING_REQUESTS: Final = 64  # of one connection, each at most a chunk
SEND_BUFFER_BYTES: Final = 256 * 1024  # over this a client that does not read is not served
READS_AGAIN_S: Final = 20.0  # a client that does not read for so long is cut off
UNACTIVATED_S: Final = 10.0  # a connection or session without a user ends after this
SHORTEST_PUBLISHING_MS: Final = 50.0
LONGEST_PUBLISHING_MS: Final = 60_000.0
LONGEST_QUEUE: Final = 100  # values of one item that wait for the client
LONGEST_EVENT_QUEUE: Final = 1000
NOTIFICATIONS_PER_PUBLISH: Final = 1000
UNACKNOWLEDGED: Final = 20  # messages of a subscription that can be asked for again
WAITING_PUBLISHES: Final = 10  # publish requests of a session that wait for news, plus its subscriptions
HISTORY_NODES: Final = 50  # of a HistoryRead
HISTORY_VALUES: Final = 10_000  # that it is answered with at most: some 200 kB
HISTORY_PAGES: Final = 50  # of 1,000 values each, that are looked at for one answer: some 0.3 s of a thread
CONTINUATIONS: Final = 50  # continuation points of a session, each with a page of values at most
CONTINUATION_S: Final = 120.0  # a continuation point is kept for so long
