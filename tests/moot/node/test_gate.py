"""The gate lets nothing in unsigned; the signer contradicts itself for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from chain.errors import InvalidEncoding, InvalidMessage
from chain.validators import Validator, validator_set
from chain.verifiers import default_verifier
from consensus.contract import Attestation, Message, Slot
from consensus.registry import engine_names, protocol
from moot.node import gate as gates
from moot.node.gate import Gate, Signer, SigningRefused, attestations_max
from p2p.wire import ConsensusFrame, PeerMessage
from wallet.development import development_key

CHAIN = bytes(32)
KEY = development_key(0)


class Ballot(Message, frozen=True, tag=7):
    voter: bytes
    height: int
    choice: str
    signature: bytes = b""

    def attestations(self) -> tuple[Attestation, ...]:
        slot = Slot("ballot", self.height, 0)
        return (Attestation(self.voter, slot, self.choice.encode(), self.signature),)

    def signed(self, signatures: Sequence[bytes]) -> Message:
        return msgspec.structs.replace(self, signature=signatures[0])


class Quotation(Message, frozen=True, tag=8):
    ballots: tuple[Ballot, ...]

    def attestations(self) -> tuple[Attestation, ...]:
        return tuple(one for ballot in self.ballots for one in ballot.attestations())


class Assembly:
    name = "assembly"
    messages = (Ballot, Quotation)


def gate() -> Gate:
    return Gate(cast(Any, Assembly()), CHAIN, default_verifier())


def test_a_frame_is_named_by_what_is_in_it_and_by_nothing_that_a_peer_made_up() -> None:
    frame = gate().pack(Quotation(()))
    assert gate().name_of(frame) == "Quotation"
    for strange in ({"tag": 9}, {"engine": "another"}):
        assert gate().name_of(msgspec.structs.replace(frame, **strange)) == "other"


@pytest.mark.parametrize("engine", engine_names())
def test_no_engine_calls_a_message_like_one_of_the_links(engine: str) -> None:
    """Both are counted under their names, side by side."""
    links = {kind.__name__ for kind in PeerMessage.__subclasses__()}
    assert not links & {kind.__name__ for kind in protocol(engine).messages}


def test_where_only_members_speak_nobody_else_costs_a_signature() -> None:
    class NeverAsked:
        def verify(self, claims: Sequence[Any]) -> list[bool]:
            raise AssertionError("a stranger's signature was checked")

    members = validator_set((Validator(KEY.address, 1, "a"),))
    closed = Gate(cast(Any, Assembly()), CHAIN, NeverAsked(), True)
    frame = gate().pack(signer().sign(Ballot(KEY.address, 3, "yes")))
    assert closed.unpack(frame, development_key(1).address, members) is None
    with pytest.raises(AssertionError, match="was checked"):
        closed.unpack(frame, KEY.address, members)


def test_no_message_carries_more_signatures_than_members_have_a_use_for() -> None:
    members = validator_set((Validator(KEY.address, 1, "a"),))
    guarded = Gate(cast(Any, Assembly()), CHAIN, default_verifier(), True)
    mine = signer()
    signed = [cast(Ballot, mine.sign(Ballot(KEY.address, height, ""))) for height in range(13)]
    most = attestations_max(1)
    fits = guarded.pack(Quotation(tuple(signed[:most])))
    assert guarded.unpack(fits, KEY.address, members) is not None
    with pytest.raises(InvalidMessage, match="more signatures"):
        guarded.unpack(guarded.pack(Quotation(tuple(signed))), KEY.address, members)


def signer(chain: bytes = CHAIN, engine: str = "assembly") -> Signer:
    return Signer(KEY.address, KEY.sign, chain, engine)


def test_a_signed_message_passes_and_comes_out_as_it_went_in() -> None:
    message = signer().sign(Ballot(KEY.address, 3, "yes"))
    assert gate().unpack(gate().pack(message)) == message


@pytest.mark.parametrize(
    "forge",
    [
        lambda m: msgspec.structs.replace(m, choice="no"),
        lambda m: msgspec.structs.replace(m, height=4),
        lambda m: msgspec.structs.replace(m, voter=development_key(1).address),
        lambda m: msgspec.structs.replace(m, signature=b""),
        lambda m: msgspec.structs.replace(m, signature=bytes(64)),
        lambda m: msgspec.structs.replace(m, voter=b"\x01" + m.voter[1:]),
    ],
)
def test_what_was_not_signed_as_it_stands_is_refused(forge: Any) -> None:
    message = forge(signer().sign(Ballot(KEY.address, 3, "yes")))
    with pytest.raises(InvalidMessage) as caught:
        gate().unpack(gate().pack(message))
    assert caught.value.code == "bad-signature"


def test_a_signature_for_another_chain_or_engine_does_not_count_here() -> None:
    for other in (signer(chain=bytes([1]) * 32), signer(engine="other")):
        frame = gate().pack(other.sign(Ballot(KEY.address, 3, "yes")))
        with pytest.raises(InvalidMessage):
            gate().unpack(frame)


def test_frames_of_another_engine_of_unknown_type_or_garbled_are_refused() -> None:
    good = gate().pack(signer().sign(Ballot(KEY.address, 3, "yes")))
    for frame, code in (
        (ConsensusFrame("other", good.tag, good.body), "other-engine"),
        (ConsensusFrame(good.engine, 99, good.body), "unknown-message"),
    ):
        with pytest.raises(InvalidMessage) as caught:
            gate().unpack(frame)
        assert caught.value.code == code
    with pytest.raises(InvalidEncoding):
        gate().unpack(ConsensusFrame(good.engine, good.tag, good.body + b"\x00"))


def test_the_signer_signs_again_what_it_signed_and_nothing_else_in_that_slot() -> None:
    mine = signer()
    first = mine.sign(Ballot(KEY.address, 3, "yes"))
    assert mine.sign(Ballot(KEY.address, 3, "yes")) == first
    with pytest.raises(SigningRefused):
        mine.sign(Ballot(KEY.address, 3, "no"))


def test_the_signer_refuses_what_lies_below_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that was forgotten must not be signed anew."""
    monkeypatch.setattr(gates, "GUARD_SLOTS_MAX", 3)
    mine = signer()
    for height in (1, 2, 3, 4):
        mine.sign(Ballot(KEY.address, height, "yes"))
    with pytest.raises(SigningRefused):
        mine.sign(Ballot(KEY.address, 1, "no"))
    mine.sign(Ballot(KEY.address, 5, "yes"))


def test_nobody_signs_for_another() -> None:
    with pytest.raises(AssertionError):
        signer().sign(Ballot(development_key(1).address, 1, "yes"))
