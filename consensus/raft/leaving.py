"""Handing leadership over: by command, at a graceful stop, and by a leader that was removed
(thesis 3.10 and 4.2.2)."""

from __future__ import annotations

from consensus.contract import Answer, CancelTimer, NodeId, SetTimer, Stop
from consensus.raft.messages import TimeoutNow
from consensus.raft.reads import Reads
from consensus.raft.server import TRANSFER_TIMER, Transfer


class Leaving(Reads):
    """The leader brings one follower up to date, appends nothing meanwhile, and tells it to stand
    for election at once."""

    def _on_command(self, request: int, name: str, arguments: tuple[str, ...]) -> None:
        if name != "transfer":
            self._emit(Answer(request, f"refused: raft knows no command {name!r}; try 'transfer'"))
            return
        refusal = self._refusal(arguments)
        if refusal:
            self._emit(Answer(request, f"refused: {refusal}"))
            return
        target = self._named(arguments[0]) if arguments else self._successor()
        assert target is not None
        self._begin_transfer(target, request)

    def _refusal(self, arguments: tuple[str, ...]) -> str:
        """Why leadership cannot be handed over so; empty: it can."""
        if self._role != "leader":
            who = "nobody" if self._leader is None else self._name(self._leader)
            return f"this node does not lead; {who} does"
        if self._transfer is not None:
            return f"leadership is on its way to {self._name(self._transfer.target)} already"
        if len(arguments) > 1:
            return "transfer takes one name at most"
        if arguments and self._named(arguments[0]) is None:
            return f"no other voter is called {arguments[0]!r}"
        if self._successor() is None:
            return "there is no other voter"
        return ""

    def _name(self, address: NodeId) -> str:
        member = self._members.by_address.get(address)
        return member.name if member is not None and member.name else address[1:5].hex()

    def _named(self, name: str) -> NodeId | None:
        """Another voter by its name, or by its key in hex."""
        for voter in self._members.voters:
            if voter.address != self._me and name in (voter.name, voter.address[1:].hex()):
                return voter.address
        return None

    def _successor(self) -> NodeId | None:
        """Of the voters that answer, or else of all, the one whose log reaches furthest; of equal
        ones the first in address order."""
        others = [one.address for one in self._members.voters if one.address in self._progress]
        return max(
            others,
            key=lambda one: (self._is_heard(one), self._progress[one].matched),
            default=None,
        )

    def _begin_transfer(self, target: NodeId, request: int | None) -> None:
        self._transfer = Transfer(target, request, self._term)
        self._building = None
        self._trace("transfer", to=self._name(target))
        self._emit(SetTimer((TRANSFER_TIMER,), self._parameters.election_ms_max))

    def _try_hand_over(self) -> bool:
        """Once the target's log is as long as the own one, it is told to stand."""
        transfer = self._transfer
        if transfer is None or transfer.is_told or self._role != "leader":
            return False
        progress = self._progress.get(transfer.target)
        if progress is None or progress.matched < self._tip.height:
            return False
        self._was_handed_over = True
        self._transfer = transfer._replace(is_told=True)
        self._say(transfer.target, TimeoutNow(self._term))
        return True

    def _on_timeout_now(self, sender: NodeId, message: TimeoutNow) -> None:
        """Stands at once and without a pre-vote: the leader wishes it (thesis 3.10)."""
        if message.term == self._term and sender == self._leader and self._may_stand():
            self._stand(by_transfer=True)

    def _try_settle_transfer(self) -> bool:
        """Somebody leads in a later term: whether it is the one who should."""
        transfer = self._transfer
        if transfer is None or self._term == transfer.term or self._leader is None:
            return False
        who = self._name(self._leader)
        done = self._leader == transfer.target
        self._end_transfer(f"{who} leads now" if done else f"refused: {who} was elected instead")
        return True

    def _on_transfer_timer(self) -> None:
        transfer = self._transfer
        if transfer is None:
            return
        who = self._name(transfer.target)
        self._end_transfer(f"refused: {who} did not take over within an election timeout")
        if self._role == "leader" and not self._is_voter:
            self._follow(self._term, None)  # removed: others will find a leader

    def _end_transfer(self, outcome: str) -> None:
        transfer, self._transfer = self._transfer, None
        assert transfer is not None
        self._emit(CancelTimer((TRANSFER_TIMER,)))
        self._trace("transfer-ended", outcome=outcome)
        if transfer.request is not None:
            self._emit(Answer(transfer.request, outcome))
        if self._stopping:
            self._emit(Stop())

    # ------------------------------------------------------------------------------ occasions

    def _on_stop(self) -> None:
        """A graceful stop: who leads hands over first, so that nobody waits for a timeout."""
        if self._stopping:
            return
        self._stopping = True
        target = self._successor() if self._role == "leader" else None
        if target is None:
            self._emit(Stop())
        elif self._transfer is None:
            self._begin_transfer(target, None)

    def _try_leave(self) -> bool:
        """A leader that the new configuration leaves out leads until all that the joint one
        decides is final, and then hands over (section 6; thesis 4.2.2). One that was elected
        without a vote never has an entry of its term to commit: it hands its log on at once."""
        if self._role != "leader" or self._is_voter or self._transfer is not None:
            return False
        if self._has_opened and self._final != self._record.tip:
            return False
        target = self._successor()
        if target is None:
            self._follow(self._term, None)
        else:
            self._begin_transfer(target, None)
        return True
