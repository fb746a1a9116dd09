"""Who may open a session on the OPC UA server, and the server's own certificate.

The endpoint without security is there for discovery alone: a session needs a secure channel, so `get_user` refuses
whoever has no channel certificate, whatever the token; a certificate that is only claimed, on a channel that proves
nothing, does not count. The token is looked at first: asyncua passes the channel's
certificate also for a password login. Source: OPC 10000-4, 5.6 and 7.36.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.security_policies import SecurityPolicyFactory, SecurityPolicyNone
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.security.passwords import matches
from edge.settings import OpcUa
from schemas.errors import SettingsError

POLICIES = [
    ua.SecurityPolicyType.NoSecurity,  # discovery only, see `Users.get_user`
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
]


class _DiscoveryFactory(SecurityPolicyFactory):
    """The policy without security, forgetting the certificate that a client sends along unproven."""

    def create(self, peer_certificate: bytes | None) -> SecurityPolicyNone:
        """Return the policy of one channel; asyncua would hand the claimed certificate to `get_user`."""
        return SecurityPolicyNone(None)  # type: ignore[no-untyped-call]  # asyncua has no types here


class SecuredServer(Server):
    """asyncua's server, with sessions on secure channels only."""

    async def _setup_server_nodes(self) -> None:
        await super()._setup_server_nodes()
        none = ua.MessageSecurityMode.None_
        discovery = _DiscoveryFactory(SecurityPolicyNone, none)  # type: ignore[no-untyped-call]  # nor here
        self._policies[:] = [discovery if policy.cls is SecurityPolicyNone else policy for policy in self._policies]


class Users(UserManager):
    """Decides about sessions: user name and password of a JSON file, and anonymous readers if settings allow them."""

    def __init__(self, settings: OpcUa, home: Path) -> None:
        """Read the users' file: JSON of name -> `salt$hash` (`edge/security/passwords.py`).

        Raises:
            SettingsError: the file can't be read.
        """
        self._anonymous = settings.anonymous
        self._hashes: dict[str, str] = {}
        if settings.users:
            path = home / settings.users
            try:
                self._hashes = {str(name): str(stored) for name, stored in json.loads(path.read_text()).items()}
            except (OSError, ValueError, AttributeError) as error:
                raise SettingsError([f"{path}: opcua.users can't be read ({error}); JSON of name -> hash"]) from error

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | bytes | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Return the user of a session, None to refuse it (asyncua then answers BadUserAccessDenied)."""
        if not certificate:
            return None
        if username is None:
            return User(role=UserRole.User) if self._anonymous else None
        stored = self._hashes.get(username)
        text = password.decode("utf-8", "replace") if isinstance(password, bytes) else password or ""
        if stored is None or not matches(text, stored):
            return None
        return User(role=UserRole.User, name=username)


async def secure(server: Server, settings: OpcUa, home: Path, uri: str) -> None:
    """Give the server its certificate, policies and tokens; the certificate is made once and renewed by asyncua."""
    folder = home / "state" / "opcua"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, certificate = folder / "key.pem", folder / "certificate.der"
    host = socket.gethostname()
    await setup_self_signed_certificate(
        key, certificate, uri, host, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        {"commonName": f"PlantEdge {host}"[:64], "organizationName": "PlantEdge"},
    )  # fmt: skip
    key.chmod(0o600)
    await server.load_certificate(certificate)
    await server.load_private_key(key)
    server.set_security_policy(POLICIES)
    tokens: list[type] = [ua.UserNameIdentityToken]
    if settings.anonymous:
        tokens.insert(0, ua.AnonymousIdentityToken)
    server.set_identity_tokens(tokens)
