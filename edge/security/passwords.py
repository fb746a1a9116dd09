"""Passwords of people on a device: only their hashes are kept, as `salt$hash` in hex, scrypt (RFC 7914).

A try takes 16 MB and some 50 ms. Tries of strangers are made one after the other on a thread of their own: they hold up
nobody but each other, and the heap of one thread is all that they ever leave (each thread of a pool would keep 16 MB).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Final

_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
NOBODY: Final = f"{'00' * 16}$"  # matches no password, and takes as long as a hash that is there
_TRIES: Final = ThreadPoolExecutor(1, "passwords")


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return `salt$hash`. It takes some 50 ms: not for a loop that others wait for."""
    salt = salt if salt is not None else secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"


async def matches(password: str, stored: str) -> bool:
    """Return whether a password is the one of a hash; of a hash that can't be read it is not."""
    return await asyncio.get_running_loop().run_in_executor(_TRIES, _matches, password, stored)


def _matches(password: str, stored: str) -> bool:
    try:
        salt = bytes.fromhex(stored.partition("$")[0])
    except ValueError:
        return False
    return hmac.compare_digest(hash_password(password, salt).encode(), stored.encode())
