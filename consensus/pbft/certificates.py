"""Judging certificates: who must have signed what, for every n (sections 4.2 and 4.4)."""

from __future__ import annotations

import itertools

from chain.address import Address
from chain.errors import InvalidProof
from chain.validators import ValidatorSet, quorum_byzantine
from consensus.pbft.messages import CommitCertificate, PreparedCertificate, SignedBy


def primary_of(members: ValidatorSet, view: int) -> Address:
    """p = v mod n, in address order (section 4)."""
    return members.voters[view % len(members)].address


def check_commit_certificate(certificate: CommitCertificate, members: ValidatorSet) -> None:
    """Raises InvalidProof unless a quorum of distinct members is listed in address order.

    The signatures themselves are checked by the caller.
    """
    _check_signers(certificate.commits, members, quorum_byzantine(len(members)))


def check_prepared_certificate(certificate: PreparedCertificate, members: ValidatorSet) -> None:
    """Raises InvalidProof unless it is the primary's word and that of quorum - 1 backups."""
    if len(members) == 0 or certificate.primary != primary_of(members, certificate.view):
        raise InvalidProof("wrong-primary", "the pre-prepare is not of that view's primary")
    if any(one.signer == certificate.primary for one in certificate.prepares):
        # Section 4.2: prepares come from the backups; the primary's word is its pre-prepare.
        raise InvalidProof("primary-prepared", "the primary is counted twice")
    _check_signers(certificate.prepares, members, quorum_byzantine(len(members)) - 1)


def _check_signers(signatures: tuple[SignedBy, ...], members: ValidatorSet, needed: int) -> None:
    addresses = [one.signer for one in signatures]
    if any(left >= right for left, right in itertools.pairwise(addresses)):
        raise InvalidProof("signers-not-sorted", "signers stand in address order, each once")
    strangers = sum(1 for address in addresses if address not in members)
    if strangers:
        raise InvalidProof("not-a-member", f"{strangers} of the signers are not validators")
    if len(addresses) < needed:
        raise InvalidProof("no-quorum", f"{len(addresses)} signatures where {needed} are needed")
