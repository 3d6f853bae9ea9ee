"""Model files that are signed and encrypted, and checked before anything in them is loaded.

Needs the `cryptography` library: ``pip install "skbig[secure]"``.
"""

from skbig.secure.encryption import decrypt, encrypt, open_encrypted
from skbig.secure.keys import generate_key, generate_signing_keys
from skbig.secure.signing import open_verified, sign, verify

__all__ = [
    "decrypt",
    "encrypt",
    "generate_key",
    "generate_signing_keys",
    "open_encrypted",
    "open_verified",
    "sign",
    "verify",
]
