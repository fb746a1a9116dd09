"""Passwords of people on a device: only their hashes are kept, as `salt$hash` in hex, scrypt (RFC 7914)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from edge.host.memory import give_back

_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
NOBODY: Final = f"{'00' * 16}$"  # matches no password, and takes as long as a hash that is there


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return `salt$hash`. It takes some 50 ms: not for a loop that others wait for."""
    salt = salt if salt is not None else secrets.token_bytes(16)
    hashed = hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()
    give_back()  # the 16 MB that it took would stay in the heap of each thread that has ever tried a password
    return f"{salt.hex()}${hashed}"


def matches(password: str, stored: str) -> bool:
    """Return whether a password is the one of a hash; of a hash that can't be read it is not."""
    try:
        salt = bytes.fromhex(stored.partition("$")[0])
    except ValueError:
        return False
    return hmac.compare_digest(hash_password(password, salt).encode(), stored.encode())
