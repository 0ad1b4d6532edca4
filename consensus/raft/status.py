"""What a server shows to people: facts, tables, and why it waits. Code never reads this."""

from __future__ import annotations

from chain.address import Address
from chain.hashing import show_id
from chain.validators import majority
from chain.view import ChainView
from consensus.contract import NodeId, Now, Status
from consensus.raft.recovery import Recovery


class Spokesman(Recovery):
    """Explains the server to people."""

    def status(self, view: ChainView, now: Now) -> Status:
        """For people: who leads, how far each log is, who voted, and why it waits."""
        self._view, self._now = view, now
        if not self._final:
            return Status(facts={"term": self._term, "role": "not started"})
        members = self._members
        facts: dict[str, int | str] = {
            "term": self._term,
            "role": self._role_shown(),
            "leader": "-" if self._leader is None else self._name(self._leader),
            "log height": self._tip.height,
            "log tip": show_id(self._tip.block_id),
            "log tip's term": self._tip_term,
            "final height": view.height(self._final),
            "uncommitted": self._tip.height - view.height(self._final),
            "voted for": self._vote_shown(),
            "voters": len(members.voters),
            "majority": majority(len(members.voters)),
            "transactions waiting": self._waiting,
        }
        if members.outgoing:
            facts["outgoing voters"] = len(members.outgoing)
            facts["outgoing majority"] = majority(len(members.outgoing))
        if self._role == "leader":
            facts["round"] = self._round
            facts["reads waiting"] = len(self._reads) + len(self._unopened)
            if self._parameters.lease_reads:
                facts["lease ends in (ms)"] = max(0, self._lease_ends_ms() - now.steady_ms)
        else:
            facts["election in (ms)"] = max(0, self._deadline_ms - now.steady_ms)
            facts["leader heard (ms ago)"] = now.steady_ms - self._contact_ms
        missing = self._missing()
        return Status(
            facts=facts,
            tables={"servers": self._rows()},
            why=self._why(missing),
            leader=self._leader,
            round=self._term,
            missing=missing,
            listening=self._listening and self._is_voter,
        )

    def _role_shown(self) -> str:
        if self._listening:
            return "listening"
        if self._role == "follower" and not self._is_voter:
            return "learner" if self._me in self._members.listed else "observer"
        return self._role

    def _vote_shown(self) -> str:
        voted_for = self._record.voted_for
        return "-" if voted_for is None else self._name(voted_for)

    def _rows(self) -> tuple[dict[str, int | str], ...]:
        """One row for each server of the configuration, in address order."""
        members = self._members
        rows = []
        for address in sorted(members.listed):
            progress = self._progress.get(address)
            row: dict[str, int | str] = {
                "server": self._name(address),
                "part": self._part(address),
                "vote": "yes" if address in self._votes else "-",
            }
            if progress is not None:
                row |= {
                    "match": progress.matched,
                    "next": progress.next.height + 1,
                    "in flight": progress.in_flight,
                    "state": "probe" if progress.probing else "replicate",
                    "heard (ms ago)": self._now.steady_ms - progress.heard_ms,
                }
            elif address == self._me and self._role == "leader":
                row |= {
                    "match": self._stored,
                    "next": self._tip.height + 1,
                    "in flight": 0,
                    "state": "leader",
                    "heard (ms ago)": 0,
                }
            rows.append(row)
        return tuple(rows)

    def _part(self, address: Address) -> str:
        members = self._members
        leaves = any(one.address == address for one in members.outgoing)
        if address in members:
            return "voter, old and new" if leaves else "voter"
        return "leaving voter" if leaves else "learner"

    def _missing(self) -> tuple[NodeId, ...]:
        """Voters that a leader has not heard for a longest election timeout."""
        if self._role != "leader":
            return ()
        return tuple(one for one in self._progress if not self._is_heard(one))

    def _why(self, missing: tuple[NodeId, ...]) -> tuple[str, ...]:
        """Plain sentences; none where it waits for nothing."""
        if self._conflict:
            return (
                "Two committed blocks contradict each other: a server lost its record unnoticed, "
                "or lied. Stop this node and compare the chains of several operators.",
            )
        if self._listening:
            return (self._why_listening(),)
        if not self._is_voter and self._role == "follower":
            return ()
        names = ", ".join(self._name(one) for one in missing)
        if self._role == "leader":
            behind = self._tip.height - self._view.height(self._final)
            silent = f" Nothing heard from: {names}." if names else ""
            if not behind:
                return (silent.strip(),) if silent else ()
            held = self._needed()
            return (
                f"Term {self._term}: {behind} blocks wait for a majority to hold them; "
                f"{held}.{silent}",
            )
        if self._leader is not None:
            return ()
        if self._syncing:
            return ("This node is catching up and does not stand for election until it has.",)
        have, need = len(self._votes), majority(len(self._members.voters))
        if self._role == "follower":
            return ("No leader is known: this server waits for one, or for its timeout.",)
        asked = "pre-votes" if self._role == "pre-candidate" else "votes"
        lacking = [
            self._name(one.address)
            for one in self._members.voters
            if one.address not in self._votes
        ]
        return (
            f"Term {self._term}: no leader; this server has {have} of {need} needed {asked}. "
            f"Not granted by: {', '.join(lacking)}. Check that they run, that the links are up, "
            "and that their logs are not longer than this one's.",
        )

    def _needed(self) -> str:
        height = self._view.height(self._final) + 1
        holders = sum(1 for progress in self._progress.values() if progress.matched >= height)
        holders += self._stored >= height
        need = majority(len(self._members.voters))
        return f"height {height} is held by {holders} servers of {need} needed"

    def _why_listening(self) -> str:
        lost = "The record of this node's term and vote was lost"
        others = self._others()
        if not others:
            return (
                f"{lost}, and nobody else has a vote: nobody knows what it had decided, so it "
                "never votes again by itself. Restore its database from a backup."
            )
        if majority(len(others) + 1) > len(others):
            other = self._name(others[0])
            return (
                f"{lost}, and a majority of two is both: nothing becomes final without this node, "
                f"so it never may vote again by itself. Stop {other}, copy its database (which "
                "holds all that both decided) into this node's folder, and start both."
            )
        silent = [self._name(one) for one in others if one not in self._told]
        if silent:
            until = f"every other server has told its term; not yet: {', '.join(silent)}"
        elif self._listen_until is None:
            until = "a majority of the servers has its records"
        else:
            until = f"a block above height {self._listen_until} is final"
        return (
            f"{lost}: it listens until {until}. "
            "If every server lost its record, restore one from a backup."
        )
