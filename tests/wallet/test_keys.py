"""Keys: RFC 8032's vector, addresses, and that secrets stay out of text."""

from __future__ import annotations

import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chain.address import key_address
from wallet.errors import WalletError
from wallet.keys import Key

# RFC 8032 section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_rfc_8032_vector() -> None:
    key = Key.from_seed(SEED)
    assert key.public_key == PUBLIC
    assert key.address == key_address(PUBLIC)
    assert key.sign(b"\x72") == SIGNATURE
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(key.sign(b"text"), b"text")


def test_text_forms_hide_the_secret() -> None:
    key = Key.from_seed(SEED)
    assert SEED.hex() not in repr(key)
    assert SEED.hex() not in str(key)
    assert str(SEED) not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_equality_is_by_key() -> None:
    assert Key.from_seed(SEED) == Key.from_seed(SEED)
    assert Key.from_seed(SEED) != Key.from_seed(bytes(32))
    assert len({Key.from_seed(SEED), Key.from_seed(SEED)}) == 1


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(WalletError, match="32 bytes"):
        Key.from_seed(bytes(size))
