"""Keystore files: Web3 Secret Storage, version 3, holding one 32-byte Ed25519 seed.

Files are opened through ``eth-keyfile``. They are made here, because ``eth-keyfile`` fixes scrypt's
parallelism at 1 (geth's light setting has 6) and would name a secp256k1 address; the cipher is
``cryptography``'s. Two differences to geth's files, both invisible to version 3 readers that go by
the definition: ``address`` is our bech32m text, and a file whose address does not belong to its
key is refused (the MAC covers neither the address nor the initialisation vector).

Files are written whole: temporary file, fsync, link or rename, fsync of the folder; mode 0600.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from chain.bech32m import parse_address, show_address
from chain.errors import InvalidEncoding
from wallet.errors import (
    DamagedKeystore,
    KeystoreExists,
    KeystoreMissing,
    WalletError,
    WrongPassword,
)
from wallet.keys import Key

FILE_SIZE_MAX: Final = 64 * 1024
"""Bytes of a keystore file; real ones have some 500."""
SCRYPT_MEMORY_MAX: Final = 512 * 1024 * 1024
"""Bytes that scrypt may use (128·n·r): twice the standard setting, so that a file from a stranger
cannot take the machine's memory."""
SCRYPT_WORK_MAX: Final = 2**25
"""Largest n·r·p: sixteen times the standard setting, some ten seconds."""
PBKDF2_ROUNDS_MAX: Final = 10_000_000
"""Largest count of PBKDF2 rounds: ten times what tools write today."""


class ScryptCost(NamedTuple):
    """scrypt's parameters (RFC 7914 section 2): n a power of two, r block size, p parallelism."""

    n: int
    r: int
    p: int


STANDARD: Final = ScryptCost(2**18, 8, 1)
"""geth's standard: 256 MiB and about a second."""
LIGHT: Final = ScryptCost(2**12, 8, 6)
"""geth's light setting: 4 MiB and about a tenth of a second; for tests and small machines."""

_Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]
_Salt = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-fA-F]{2}){1,64}\Z")]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**32)]


class _CipherParams(msgspec.Struct):
    iv: _Hex16


class _ScryptParams(msgspec.Struct):
    dklen: Literal[32]
    n: _Positive
    r: _Positive
    p: _Positive
    salt: _Salt


class _Pbkdf2Params(msgspec.Struct):
    dklen: Literal[32]
    c: Annotated[int, msgspec.Meta(ge=1, le=PBKDF2_ROUNDS_MAX)]
    prf: Literal["hmac-sha256"]
    salt: _Salt


class _Crypto(msgspec.Struct):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: _Hex32
    kdf: Literal["scrypt", "pbkdf2"]
    kdfparams: msgspec.Raw
    mac: _Hex32


class _Document(msgspec.Struct):
    version: Literal[3]
    crypto: _Crypto
    id: str | None = None
    address: str | None = None


# --- documents ------------------------------------------------------------------------------------


def encrypt_key(key: Key, password: str, prefix: str, cost: ScryptCost = STANDARD) -> bytes:
    """The keystore document (JSON) of ``key``; ``prefix`` is its network's address prefix.

    Raises WalletError for an empty password.
    """
    if not password:
        raise WalletError("empty-password", "an empty password protects nothing")
    from eth_utils.crypto import keccak  # see decrypt_key

    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        dklen=32,
        maxmem=SCRYPT_MEMORY_MAX + 2**24,
    )
    encryptor = Cipher(algorithms.AES128(derived[:16]), modes.CTR(iv)).encryptor()
    ciphertext = encryptor.update(key.seed) + encryptor.finalize()
    document = {
        "version": 3,
        "id": str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
        "address": show_address(key.address, prefix),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": cost.n,
                "r": cost.r,
                "p": cost.p,
                "salt": salt.hex(),
            },
            "mac": keccak(derived[16:32] + ciphertext).hex(),
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decrypt_key(document: bytes, password: str) -> Key:
    """The key in a keystore document, ours or any version 3 one without an address.

    Raises DamagedKeystore (not JSON, missing or odd fields, costs beyond the bounds, an address
    that is not the key's) and WrongPassword.
    """
    parsed = _parse(document)
    plain = _checked(parsed)
    try:
        seed: bytes = _decoder()(plain, password.encode())
    except ValueError as error:
        # Everything else was checked before: what is left is the MAC.
        raise WrongPassword(
            "wrong-password", "the password is wrong, or the file's secret part is damaged"
        ) from error
    key = Key.from_seed(seed)
    if parsed.address is not None and _address_of(parsed.address) != key.address:
        raise DamagedKeystore(
            "keystore-address", "the keystore's key is not the key of the address that it names"
        )
    return key


def _decoder() -> Callable[[Any, bytes], bytes]:
    """eth-keyfile's decryption. Imported late: it brings BLS pairings along and takes half a
    second, which a command that opens no keystore should not wait for.

    Its dependency py-ecc raises the interpreter's recursion limit to 100,000; then deeply nested
    JSON, anywhere in the process, would overrun the stack instead of raising RecursionError.
    """
    limit = sys.getrecursionlimit()
    from eth_keyfile.keyfile import decode_keyfile_json

    sys.setrecursionlimit(limit)
    decode: Callable[[Any, bytes], bytes] = decode_keyfile_json
    return decode


def _parse(document: bytes) -> _Document:
    if len(document) > FILE_SIZE_MAX:
        raise DamagedKeystore(
            "keystore-too-large", f"a keystore file has at most {FILE_SIZE_MAX} bytes"
        )
    try:
        return msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedKeystore(
            "malformed-keystore", f"not a whole version 3 keystore: {error}"
        ) from None


def _checked(document: _Document) -> dict[str, Any]:
    """The document as eth-keyfile takes it, after bounding what the key derivation may cost."""
    crypto = document.crypto
    kind = _ScryptParams if crypto.kdf == "scrypt" else _Pbkdf2Params
    try:
        parameters = msgspec.json.decode(crypto.kdfparams, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedKeystore("kdf-parameters", f"odd key derivation: {error}") from None
    if isinstance(parameters, _ScryptParams):
        _check_scrypt(parameters)
    return {
        "version": 3,
        "crypto": {
            "cipher": crypto.cipher,
            "cipherparams": {"iv": crypto.cipherparams.iv},
            "ciphertext": crypto.ciphertext,
            "kdf": crypto.kdf,
            "kdfparams": msgspec.structs.asdict(parameters),
            "mac": crypto.mac,
        },
    }


def _check_scrypt(parameters: _ScryptParams) -> None:
    n, r, p = parameters.n, parameters.r, parameters.p
    if n < 2 or n & (n - 1):
        raise DamagedKeystore("kdf-parameters", "scrypt's n must be a power of two, at least 2")
    if 128 * n * r > SCRYPT_MEMORY_MAX or n * r * p > SCRYPT_WORK_MAX:
        raise DamagedKeystore(
            "kdf-too-costly",
            f"opening this file would take {128 * n * r // 2**20} MiB and {p} rounds of scrypt;"
            f" at most {SCRYPT_MEMORY_MAX // 2**20} MiB are allowed",
        )


def _address_of(text: str) -> bytes:
    try:
        return parse_address(text)
    except InvalidEncoding as error:
        raise DamagedKeystore(
            "keystore-address", f"the keystore's address is not one of Moot's: {error.sentence}"
        ) from None


# --- files ----------------------------------------------------------------------------------------


def generate_key() -> Key:
    """A fresh key from the operating system's randomness."""
    return Key.from_seed(secrets.token_bytes(32))


def save_key(
    path: Path, key: Key, password: str, *, prefix: str, cost: ScryptCost = STANDARD
) -> None:
    """Write a new keystore file (mode 0600; its folder is made with 0700).

    Raises KeystoreExists instead of overwriting, WalletError for an empty password, OSError.
    """
    if os.path.lexists(path):
        raise _exists(path)
    _write(path, encrypt_key(key, password, prefix, cost), replace=False)


def load_key(path: Path, password: str) -> Key:
    """The key in a keystore file.

    Raises KeystoreMissing, DamagedKeystore, WrongPassword, OSError.
    """
    return decrypt_key(_read(path), password)


def read_address(path: Path) -> str | None:
    """The address that the file names (None: it names none), without a password.

    Raises KeystoreMissing, DamagedKeystore, OSError. Only load_key shows that it is the key's.
    """
    address = _parse(_read(path)).address
    if address is not None:
        _address_of(address)
    return address


def change_password(path: Path, old: str, new: str, *, cost: ScryptCost = STANDARD) -> None:
    """Encrypt the file's key anew and put the result in the old file's place, at once.

    Raises what load_key and save_key raise, and DamagedKeystore for a file without an address.
    """
    key = load_key(path, old)
    address = read_address(path)
    if address is None:
        raise DamagedKeystore("keystore-address", "the keystore names no address")
    prefix = address.strip().lower().rpartition("1")[0]
    _write(path, encrypt_key(key, new, prefix, cost), replace=True)


def keystore_names(folder: Path) -> tuple[str, ...]:
    """Names (without .json) of the files in a folder of keystores, sorted; none if it is absent."""
    try:
        return tuple(sorted(entry.stem for entry in folder.glob("*.json") if entry.is_file()))
    except FileNotFoundError:
        return ()


def _exists(path: Path) -> KeystoreExists:
    return KeystoreExists("keystore-exists", f"{path} exists already; a key is never overwritten")


def _read(path: Path) -> bytes:
    try:
        # Non-blocking, so that a named pipe in a keystore's place cannot hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeystoreMissing("keystore-missing", f"there is no keystore {path}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedKeystore("malformed-keystore", f"{path} is not a file")
        return file.read(FILE_SIZE_MAX + 1)


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A leading dot and another suffix: a left-over of a crash is never listed as a keystore.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            try:
                # link, unlike rename, fails when the name is taken, also in a race.
                os.link(temporary, path)
            except FileExistsError:
                raise _exists(path) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
