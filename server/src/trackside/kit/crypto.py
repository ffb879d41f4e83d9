"""Secrets at rest: AES-256-GCM envelopes under a keyring file, and one-way hashes of tokens.

The keyring is a JSON file made on the host at the first start: `{"current": "<key id>", "keys": {"<key id>": "<base64, 32 bytes>"}}`.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trackside.kit.errors import Kind, TracksideError


class KeyMissing(TracksideError):
    code = "kit.key_missing"
    kind = Kind.UNAVAILABLE
    hint = "Put the keyring file of this installation back into its state directory; without it no secret can be read."


@dataclass(frozen=True)
class Keyring:
    """Keys by id; new secrets are sealed with the current one."""

    current: str
    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read the keyring file. Errors: `KeyMissing`."""
        try:
            content = json.loads(path.read_text())
            keys = {name: base64.b64decode(key) for name, key in content["keys"].items()}
            return cls(content["current"], keys)
        except (OSError, ValueError, KeyError) as error:
            raise KeyMissing(f"The keyring {path} cannot be read.") from error

    @property
    def fingerprint(self) -> str:
        """Identifies the keys without telling them; stored with the data, to refuse foreign keys clearly."""
        digest = hashlib.sha256()
        for name in sorted(self.keys):
            digest.update(hashlib.sha256(name.encode() + self.keys[name]).digest())
        return digest.hexdigest()[:32]

    def seal(self, value: str, context: str) -> bytes:
        """Encrypt; `context` (where the secret belongs) must be given again to open it, so that no ciphertext can be moved."""
        nonce = os.urandom(12)
        sealed = AESGCM(self.keys[self.current]).encrypt(nonce, value.encode(), context.encode())
        return self.current.encode() + b":" + nonce + sealed

    def open(self, ciphertext: bytes, context: str) -> str:
        """Decrypt. Errors: `KeyMissing` where the key is gone or the ciphertext isn't ours."""
        name, _, rest = ciphertext.partition(b":")
        try:
            return AESGCM(self.keys[name.decode()]).decrypt(rest[:12], rest[12:], context.encode()).decode()
        except (KeyError, InvalidTag) as error:
            raise KeyMissing("A stored secret cannot be opened with the keys of this installation.") from error


def hash_token(token: str) -> bytes:
    """The one-way form a random token is stored in. Tokens carry 256 bits of chance, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()
