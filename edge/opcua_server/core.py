"""The server's core: asyncua's, with our sessions, subscriptions and limits."""

from __future__ import annotations

import time
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.access.people import Right
from edge.opcua_server.events.conditions import Conditions
from edge.opcua_server.history.reads import HistoryReads
from edge.opcua_server.limits import UNACTIVATED_S, WAITING_REQUESTS
from edge.opcua_server.methods.calls import Methods
from edge.opcua_server.session import Session
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
    """asyncua's server core. `sessions` are those of clients; `history` and the like: None before they are there."""

    def __init__(self, settings: OpcUa) -> None:
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
        if len(self.sessions) >= self._limits.sessions:
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
        self.sessions.pop(session.auth_token, None)

    def _audits(self, session_id: ua.NodeId) -> bool:
        """Whether a session hears who did what."""
        return any(one.session_id == session_id and one.may(Right.AUDIT) for one in self.sessions.values())

    async def end_unactivated(self) -> None:
        """Close the sessions that nobody has activated in time."""
        oldest = time.monotonic() - UNACTIVATED_S
        for session in list(self.sessions.values()):
            if not session.is_activated() and session.made_s < oldest:
                await session.close_session()

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
