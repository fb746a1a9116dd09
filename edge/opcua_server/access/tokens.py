"""Reads what a session proves its user with: a password or a certificate (OPC 10000-4, 7.40).

asyncua's own reading takes RSA 1.5, SHA-1, passwords in the clear on a channel that is only signed, and never compares
the server's nonce, so that an encrypted password could be sent again by whoever has recorded it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asyncua import ua
from asyncua.crypto import uacrypto
from asyncua.crypto.security_policies import SecurityPolicyAes256Sha256RsaPss, SecurityPolicyBasic256Sha256
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from edge.opcua_server.access.trust import split_chain
from schemas.errors import CertificateRefused

LONGEST_PASSWORD: Final = 256
# Each signs with its own scheme, and encrypts secrets with OAEP: SHA-1's or SHA-256's.
_DECRYPT: Final[Mapping[str, Callable[[RSAPrivateKey, bytes], bytes]]] = {
    SecurityPolicyBasic256Sha256.AsymmetricEncryptionURI: uacrypto.decrypt_rsa_oaep,
    SecurityPolicyAes256Sha256RsaPss.AsymmetricEncryptionURI: uacrypto.decrypt_rsa_oaep_sha256,
}
_VERIFY: Final[Mapping[str, Callable[[x509.Certificate, bytes, bytes], None]]] = {
    SecurityPolicyBasic256Sha256.AsymmetricSignatureURI: uacrypto.verify_sha256,
    SecurityPolicyAes256Sha256RsaPss.AsymmetricSignatureURI: uacrypto.verify_pss_sha256,
}


class TokenRefused(Exception):
    """A token that proves nothing; `code` is its StatusCode."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(ua.StatusCode(ua.UInt32(code)).name)
        self.code = code


@dataclass(frozen=True)
class Proof:
    """What a token is read with: our key and certificate, the session's nonce, and whether the channel hides it."""

    key: RSAPrivateKey = field(repr=False)
    certificate: bytes
    nonce: bytes
    encrypted: bool


def read_password(token: Any, proof: Proof) -> str:
    """Return the password of a UserNameIdentityToken.

    Raises:
        TokenRefused: it can't be read, was readable on the way, or was made for another session.
    """
    secret = token.Password or b""
    if token.EncryptionAlgorithm:
        secret = _decrypt(token.EncryptionAlgorithm, secret, proof)
    elif not proof.encrypted:
        raise TokenRefused(StatusCodes.BadIdentityTokenRejected)
    if len(secret) > LONGEST_PASSWORD:
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid)
    try:
        return secret if isinstance(secret, str) else bytes(secret).decode()
    except UnicodeDecodeError as error:
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid) from error


def _decrypt(algorithm: str, secret: bytes, proof: Proof) -> bytes:
    decrypt = _DECRYPT.get(algorithm)
    if decrypt is None:
        raise TokenRefused(StatusCodes.BadIdentityTokenRejected)
    try:
        plain = decrypt(proof.key, secret)
    except ValueError as error:
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid) from error
    length, body = int.from_bytes(plain[:4], "little"), plain[4:]
    split = length - len(proof.nonce)
    if not 0 <= split <= length <= len(body) or not hmac.compare_digest(body[split:length], proof.nonce):
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid)
    return body[:split]


def read_certificate(token: Any, signature: Any, proof: Proof) -> list[x509.Certificate]:
    """Return the certificate of an X509IdentityToken and the authorities sent along, once the key is proven.

    Raises:
        TokenRefused: it can't be read, or the signature is not over this session.
    """
    try:
        chain = split_chain(token.CertificateData or b"")
    except CertificateRefused as error:
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid) from error
    verify = _VERIFY.get(signature.Algorithm or "")
    if not chain or verify is None or not signature.Signature:
        raise TokenRefused(StatusCodes.BadIdentityTokenInvalid)
    try:
        verify(chain[0], proof.certificate + proof.nonce, signature.Signature)
    except Exception as error:  # of any kind, from a key of any kind: nothing is proven
        raise TokenRefused(StatusCodes.BadUserSignatureInvalid) from error
    return chain
