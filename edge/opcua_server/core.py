"""The server's core: asyncua's, with our sessions, subscriptions and limits."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes

from edge.audit.denials import Denied, untold
from edge.opcua_server.access.people import Right
from edge.opcua_server.events.conditions import Conditions
from edge.opcua_server.history.reads import HistoryReads
from edge.opcua_server.limits import UNACTIVATED_S, WAITING_REQUESTS
from edge.opcua_server.methods.calls import Methods
from edge.opcua_server.session import Session
from edge.opcua_server.sparing import SparingLog
from edge.opcua_server.subscriptions.service import Subscriptions
from edge.opcua_server.vision.calls import Calls
from edge.opcua_server.writing import Writes
from edge.settings import OpcUa

_NOBODY = User(role=UserRole.Anonymous)


class _Doorless(UserManager):
    """Lets in nobody by itself: `door.Door` decides, on the way to `Session.activate_session`."""

    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> User:
        """Return nobody: the session then gets whom the door admitted."""
        return _NOBODY


class Core(InternalServer):
    """asyncua's server core. `sessions` are those of clients; `history` and the like: None before they are there.

    `denied` hears what was refused for want of a right, and to whom.

    `closings`: where it is said why connections were closed.
    """

    def __init__(self, settings: OpcUa, denied: Denied = untold) -> None:
        """Begin without sessions; nothing can be written before `writes` are opened."""
        super().__init__(user_manager=_Doorless())
        self._limits = settings.limits
        self.writes = Writes(self.aspace.get)
        self.history: HistoryReads | None = None
        self.conditions: Conditions | None = None
        self.methods: Methods | None = None
        self.vision: Calls | None = None
        self.subscriptions = Subscriptions(self.aspace, self, settings.limits, settings.tick_ms, self._audits)
        self.subscription_service = self.isession.subscription_service = self.subscriptions
        self.denied = denied
        self.closings = SparingLog(logging.getLogger(__name__))
        self.ended = 0  # sessions that are over
        self._closing: set[asyncio.Task[None]] = set()
        self.sessions: dict[ua.NodeId, Session] = {}  # by authentication token
        self.max_connections = settings.limits.connections
        self.max_pending_activation_seconds = UNACTIVATED_S
        self.max_pending_messages_per_connection = WAITING_REQUESTS

    def create_session(self, name: str, user: User = _NOBODY, external: bool = False) -> InternalSession:
        """Return a session; asyncua's own ones are asyncua's.

        Raises:
            ServiceError: there are as many as there may be.
        """
        if not external:
            return super().create_session(name, user, external)
        if len(self.sessions) >= self._limits.sessions and not self._make_room():
            raise ServiceError(StatusCodes.BadTooManySessions)
        return Session(self, str(name))

    def register_external_session(self, session: InternalSession) -> None:
        """Keep a session, under its token."""
        if isinstance(session, Session):
            self.sessions[session.auth_token] = session

    def lookup_external_session(self, auth_token: ua.NodeId) -> InternalSession | None:
        """Return the session that a token belongs to."""
        return self.sessions.get(auth_token)

    def unregister_external_session(self, session: InternalSession) -> None:
        """Forget a session."""
        if self.sessions.pop(session.auth_token, None):
            self.ended += 1

    def _audits(self, session_id: ua.NodeId) -> bool:
        """Whether a session hears who did what."""
        return any(one.session_id == session_id and one.may(Right.AUDIT) for one in self.sessions.values())

    async def end_unactivated(self) -> None:
        """Close the sessions that nobody has activated in time."""
        oldest = time.monotonic() - UNACTIVATED_S
        for session in list(self.sessions.values()):
            if not session.is_activated() and session.made_s < oldest:
                await session.close_session()

    def _make_room(self) -> bool:
        """Close the session that its client has left longest ago; whether there was one.

        A client that is killed leaves its session to its timeout, and would be shut out when it was killed often.
        """
        left = {one.left_s: one for one in self.sessions.values() if one.left_s is not None}
        if not left:
            return False
        oldest = left[min(left)]
        self.unregister_external_session(oldest)  # at once: other clients are on their way in
        closing = asyncio.create_task(oldest.close_session())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return True

    def held(self) -> dict[str, int]:
        """Return how much clients hold."""
        subscriptions = self.subscriptions.held()
        return {
            "connections": len(self.asyncio_transports), "sessions": len(self.sessions),
            "subscriptions": len(subscriptions), "items": sum(subscriptions),
        }  # fmt: skip

    def register_server(self, server: Any, conf: Any = None) -> None:
        """Refuse: this is no discovery server, and whoever reaches the port could fill its memory.

        Raises:
            ServiceError: always.
        """
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    def decrypt_user_token(self, isession: Any, token: Any) -> tuple[str, str]:
        """Return nothing: `tokens.read_password` has read it."""
        return "", ""

    def verify_x509_token(self, isession: Any, token: Any, signature: Any) -> bytes:
        """Return nothing: `tokens.read_certificate` has verified it."""
        return b""
