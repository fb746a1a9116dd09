"""Says which certificate may open a channel, and which user a session. Lists may change while the server runs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509

from edge.audit.denials import Denied, untold
from edge.opcua_server.access import rejected
from edge.opcua_server.access.people import People, Person, read_people
from edge.opcua_server.access.tokens import Proof, TokenRefused, read_certificate, read_password
from edge.opcua_server.access.trust import (
    CLIENTS,
    USERS,
    Folders,
    TrustList,
    application_uris,
    check_client_use,
    check_user_use,
    common_name,
    load,
    split_chain,
    thumbprint,
)
from edge.settings import OpcUa
from schemas.errors import CertificateRefused, SettingsError

REFUSAL_S: Final = 0.5  # what a wrong password costs its client
_log = logging.getLogger(__name__)


class Door:
    """The trust lists of applications and of users, and who has which password."""

    def __init__(self, settings: OpcUa, home: Path, denied: Denied = untold) -> None:
        """Read all lists, and make the folders that a person puts certificates into; `denied` hears who was refused.

        Raises:
            SettingsError: the users' file can't be read.
        """
        self._settings, self._home, self._denied = settings, home, denied
        self._clients, self._users = Folders(home / CLIENTS), Folders(home / USERS)
        for folders in (self._clients, self._users):
            folders.make()
        self._stamp: object = None
        self._client_list, self._user_list = TrustList((), (), ()), TrustList((), (), ())
        self._people = People({}, {})
        self._told: set[tuple[str, str]] = set()  # until the lists change
        self._take(self._read())

    def _read(self) -> tuple[object, TrustList, TrustList, People]:
        stamp = self._look()
        return stamp, load(self._clients), load(self._users), read_people(self._settings, self._home)

    def _take(self, found: tuple[object, TrustList, TrustList, People]) -> None:
        self._told.clear()
        self._stamp, self._client_list, self._user_list, self._people = found
        for problem in (*self._client_list.problems, *self._user_list.problems):
            _log.warning("%s", problem)

    def _look(self) -> object:
        path = self._home / self._settings.users
        try:
            seen = path.stat() if self._settings.users else None
        except OSError:
            seen = None
        return self._clients.stamp(), self._users.stamp(), seen and (seen.st_mtime_ns, seen.st_size)

    async def refresh(self) -> bool:
        """Read the lists again if they changed; return whether they did. A broken users' file changes nothing."""
        if await asyncio.to_thread(self._look) == self._stamp:
            return False
        try:
            self._take(await asyncio.to_thread(self._read))
        except SettingsError as error:
            _log.warning("%s; the users stay as they were", error)
            self._stamp = await asyncio.to_thread(self._look)
            return False
        _log.info("trust lists and users were read again")
        return True

    # -- applications -------------------------------------------------------------------------------------------------

    def check_client(self, chain: Sequence[x509.Certificate]) -> None:
        """Check an application's certificate; one that a person might trust is put where that person finds it.

        Raises:
            CertificateRefused: it may not open a channel.
        """
        if self._settings.any_client:
            return
        try:
            self._client_list.check(chain)
            check_client_use(chain[0])
        except CertificateRefused as error:
            self._tell("client", self._clients, chain[0], error)
            raise

    def _tell(self, what: str, folders: Folders, certificate: x509.Certificate, error: CertificateRefused) -> None:
        """Keep a refused certificate for a person, and say so once: a client tries again each second."""
        rejected.keep(folders.rejected, certificate)
        found = thumbprint(certificate), error.code
        if found in self._told or len(self._told) >= rejected.MOST:
            return
        self._told.add(found)
        _log.warning(
            "OPC UA %s %s [%s] is refused: %s (%s); `plantedge opcua list` shows it",
            what, common_name(certificate), found[0], error, error.code,
        )  # fmt: skip

    def check_uri(self, certificate: x509.Certificate, uri: str) -> None:
        """Check that an application is the one that its certificate was issued for.

        Raises:
            CertificateRefused: it says another URI.
        """
        if not self._settings.any_client and uri not in application_uris(certificate):
            raise CertificateRefused("BadCertificateUriInvalid", f"it was not issued for {uri}")

    # -- users --------------------------------------------------------------------------------------------------------

    async def admit(self, token: Any, signature: Any, proof: Proof) -> Person:
        """Return who a token proves a session to be.

        Raises:
            TokenRefused: nobody who may enter.
        """
        try:
            return await self._person(token, signature, proof)
        except TokenRefused:
            self._denied("a login", _named(token))
            await asyncio.sleep(REFUSAL_S)  # holds up this client's connection alone
            raise

    async def _person(self, token: Any, signature: Any, proof: Proof) -> Person:
        if isinstance(token, ua.UserNameIdentityToken):
            return await self._by_password(str(token.UserName or ""), read_password(token, proof))
        if isinstance(token, ua.X509IdentityToken):
            return self._by_certificate(read_certificate(token, signature, proof))
        nothing = isinstance(token, ua.ExtensionObject) and token.TypeId == ua.NodeId(ua.Int32(ObjectIds.Null))
        if not self._settings.anonymous or not (nothing or isinstance(token, ua.AnonymousIdentityToken)):
            raise TokenRefused(StatusCodes.BadIdentityTokenRejected)
        return Person()

    async def _by_password(self, name: str, password: str) -> Person:
        person = await self._people.known(name, password)
        if person is None:
            raise TokenRefused(StatusCodes.BadUserAccessDenied)
        return person

    def _by_certificate(self, chain: Sequence[x509.Certificate]) -> Person:
        try:
            check_user_use(chain[0])
            self._user_list.check(chain)
        except CertificateRefused as error:
            self._tell("user", self._users, chain[0], error)
            raise TokenRefused(StatusCodes.BadIdentityTokenRejected) from error
        return self._people.person(common_name(chain[0]), chain)

    def holds(self, chain: Sequence[x509.Certificate], user: object) -> bool:
        """Whether a client and its user, None before there is one, are still let in."""
        try:
            if chain:
                self.check_client(chain)
            if isinstance(user, Person) and user.chain:
                self._user_list.check(user.chain)
        except CertificateRefused:
            return False
        named = user.name if isinstance(user, Person) and not user.chain else ""
        return not named or named in self._people.hashes


def _named(token: Any) -> str:
    """Return who a token says that it is of; a certificate that can't be read says nothing."""
    if isinstance(token, ua.UserNameIdentityToken):
        return str(token.UserName or "")
    if isinstance(token, ua.X509IdentityToken):
        with contextlib.suppress(CertificateRefused, ValueError):
            return "".join(map(common_name, split_chain(token.CertificateData or b"")[:1]))
    return ""
