"""Transaction gossip: announce ids, ask for bodies; push only to who makes the next block.

A body crosses a link only because the other side asked for it, and a node asks one announcer at a
time; so each node receives each body once, however many peers hold it (the announcement scheme of
Bitcoin's ``inv``/``getdata`` and ``txrequest``). Ids travel in batches: at once where the link was
quiet, else gathered for FLUSH_INTERVAL_MS.

The one exception is the node that the engine names as producer: what a client brings goes straight
to it, since two messages less on the way are two delays less until it is in a block.

Sans-I/O: ``now_ms`` is steady time in milliseconds; each call returns the actions to carry out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from chain.errors import InvalidEncoding
from chain.hashing import TxId
from chain.transaction import Transaction, parse_transaction
from p2p.actions import Action, Misbehaved, PeerKey, SendTo, TransactionsReceived
from p2p.rolling import RollingSet
from p2p.wire import (
    INVENTORY_MAX,
    KILOBYTE,
    MEGABYTE,
    AnnounceTransactions,
    GetTransactions,
    PushTransactions,
    Transactions,
)

FLUSH_INTERVAL_MS: Final = 20
"""Ids gather this long on a busy link: far below a block interval, long enough to share a frame."""
FLUSH_IDS: Final = 200
"""So many waiting ids go at once: 6.4 kB, a frame worth sending."""
OUTBOX_MAX: Final = 10_000
"""Ids waiting to be announced to one peer; beyond it the oldest are left to other announcers."""
KNOWN_MAX: Final = 20_000
"""Ids remembered for each peer: several blocks' worth, about 3 MB."""
OFFERS_MAX: Final = 5_000
"""Announced ids that one peer may have open with us: a flood is cut off here, alone."""
WANTED_MAX: Final = 20_000
"""Open announced ids in all, beyond each peer's guaranteed ones."""
OFFERS_GUARANTEED: Final = 200
"""Announced ids that a peer may have open however many others have: a flood starves nobody."""
ANNOUNCERS_MAX: Final = 8
"""Announcers remembered for each id: enough that one of them is honest."""
IN_FLIGHT_PER_PEER_MAX: Final = 500
"""Bodies asked of one peer at a time: about 150 kB of ordinary transactions."""
IN_FLIGHT_MAX: Final = 2_000
"""Bodies asked for in all at a time, beyond each peer's guaranteed ones."""
IN_FLIGHT_GUARANTEED: Final = 50
"""Bodies that may be asked of a peer however many others owe theirs."""
REQUEST_TIMEOUT_MS: Final = 2_000
"""A peer that sent nothing for this long while it owed bodies loses its requests."""
TIMEOUTS_MAX: Final = 3
"""So many time-outs in a row, nothing delivered between, are reported as misbehaviour."""
MISSING_MAX: Final = 1_000
"""So many announced ids in a row answered "missing", nothing delivered between: reported too."""
PAUSE_MS: Final = 10_000
"""A peer so reported is asked for nothing for this long."""
RECENT_MAX: Final = 50_000
"""Ids of received bodies remembered, so that one the mempool refused is not fetched again."""
RECENT_MS: Final = 60_000
"""For how long: what was refused (a nonce gap, a full pool) may be welcome a minute later."""
FRAME_BYTES_MAX: Final = 192 * KILOBYTE
"""Bodies in one frame: with 1,000 missing ids it stays below 256 kB, so that no consensus frame
waits long behind it."""
SERVE_BURST_BYTES: Final = 2 * MEGABYTE
"""Bodies sent to one peer for each tick; the rest of what it asked for waits."""
OWED_MAX: Final = 2 * INVENTORY_MAX
"""Bodies that one peer may have asked for and not yet been sent."""


class _Peer:
    """What we know of one peer. Dicts stand for ordered sets; where first members leave all the
    time they are OrderedDicts, since a dict passes by all that left before to find its first."""

    def __init__(self, key: PeerKey) -> None:
        self.key = key
        self.known: RollingSet[TxId] = RollingSet(KNOWN_MAX)  # has it, or was told of it
        self.sent: RollingSet[TxId] = RollingSet(KNOWN_MAX)  # bodies that went to it
        self.outbox: OrderedDict[TxId, None] = OrderedDict()
        self.flushed_ms: int | None = None
        self.offers: dict[TxId, None] = {}  # it announced them, we still want them
        self.queue: OrderedDict[TxId, None] = OrderedDict()  # of these, to be asked of it next
        self.asked: dict[TxId, int] = {}  # id -> when asked, oldest first
        self.late: RollingSet[TxId] = RollingSet(4 * IN_FLIGHT_PER_PEER_MAX)
        self.progress_ms = 0
        self.timeouts = 0
        self.missing = 0
        self.paused_until_ms = 0
        self.owed: deque[TxId] = deque()
        self.burst_bytes = 0


class _Want:
    """An id that somebody announced and we do not have."""

    __slots__ = ("announcers", "asked_of")

    def __init__(self) -> None:
        self.announcers: dict[PeerKey, None] = {}
        self.asked_of: PeerKey | None = None


class TransactionGossip:
    """Announces, requests and serves transactions.

    ``has``: is this id in the mempool or on the chain? ``get``: the encoded body to serve, or
    None. ``all_ids``: what the mempool holds, announced to each peer that joins.
    """

    def __init__(
        self,
        has: Callable[[TxId], bool],
        get: Callable[[TxId], bytes | None],
        all_ids: Callable[[], Iterable[TxId]] | None = None,
    ) -> None:
        self._has = has
        self._get = get
        self._all_ids = all_ids
        self._peers: dict[PeerKey, _Peer] = {}
        self._wanted: dict[TxId, _Want] = {}
        self._in_flight = 0
        # id -> when its body came, oldest first
        self._recent: OrderedDict[TxId, int] = OrderedDict()

    # ------------------------------------------------------------------------- peers come and go

    def joined(self, peer: PeerKey, now_ms: int) -> list[Action]:
        """A link is up: tell the peer what the mempool holds."""
        if peer in self._peers:
            self.left(peer, now_ms)
        state = self._peers[peer] = _Peer(peer)
        for identifier in self._all_ids() if self._all_ids is not None else ():
            self._enqueue(state, identifier)
        return self._flush(state, now_ms)

    def left(self, peer: PeerKey, now_ms: int) -> list[Action]:
        """A link is down: what was asked of the peer is asked of the next announcer."""
        state = self._peers.pop(peer, None)
        if state is None:
            return []
        self._in_flight -= len(state.asked)
        touched: dict[PeerKey, None] = {}
        for identifier in state.offers:
            self._drop_announcer(identifier, peer, touched)
        return self._request_from(touched, now_ms)

    # ------------------------------------------------------------------------------ announcing

    def announce(
        self, ids: Iterable[TxId], now_ms: int, source: PeerKey | None = None
    ) -> list[Action]:
        """Tell every peer that does not know them; ``source`` is where they came from."""
        listed = list(ids)
        for identifier in listed:
            self._forget_want(identifier)
        actions: list[Action] = []
        for peer in self._peers.values():
            if peer.key != source:
                for identifier in listed:
                    self._enqueue(peer, identifier)
            actions += self._flush_if_due(peer, now_ms)
        return actions

    def _enqueue(self, peer: _Peer, identifier: TxId) -> None:
        if not peer.known.add(identifier):
            return
        if len(peer.outbox) >= OUTBOX_MAX:
            peer.outbox.popitem(last=False)
        peer.outbox[identifier] = None

    def _flush_if_due(self, peer: _Peer, now_ms: int) -> list[Action]:
        quiet = peer.flushed_ms is None or now_ms - peer.flushed_ms >= FLUSH_INTERVAL_MS
        return self._flush(peer, now_ms) if quiet or len(peer.outbox) >= FLUSH_IDS else []

    def _flush(self, peer: _Peer, now_ms: int) -> list[Action]:
        ids: list[TxId] = []
        while peer.outbox and len(ids) < INVENTORY_MAX:
            identifier, _ = peer.outbox.popitem(last=False)
            if self._get(identifier) is None:
                # A block took it meanwhile, and brings it. Should the chain give it back, it will
                # be news to this peer.
                peer.known.discard(identifier)
                continue
            ids.append(identifier)
        if not ids:
            return []
        peer.flushed_ms = now_ms
        return [SendTo(peer.key, AnnounceTransactions(tuple(ids)))]

    # -------------------------------------------------------------------------------- pushing

    def push(self, ids: Iterable[TxId], producer: PeerKey) -> list[Action]:
        """Sends the bodies to the producer, each once in the life of a link, unless it has them.

        To be called before ``announce``, which then passes it over.
        """
        peer = self._peers.get(producer)
        if peer is None:
            return []
        actions: list[Action] = []
        bodies: list[bytes] = []
        frame_bytes = 0
        for identifier in ids:
            raw = None if identifier in peer.known else self._get(identifier)
            if raw is None or len(raw) >= FRAME_BYTES_MAX:
                continue
            if frame_bytes + len(raw) >= FRAME_BYTES_MAX or len(bodies) >= INVENTORY_MAX:
                actions.append(SendTo(peer.key, PushTransactions(tuple(bodies))))
                bodies, frame_bytes = [], 0
            peer.known.add(identifier)
            peer.sent.add(identifier)
            bodies.append(raw)
            frame_bytes += len(raw) + 5  # MessagePack's length prefix
        if bodies:
            actions.append(SendTo(peer.key, PushTransactions(tuple(bodies))))
        return actions

    def on_push(self, peer: PeerKey, message: PushTransactions, now_ms: int) -> list[Action]:
        """Bodies from a member that takes us for the producer: welcome where they are news."""
        state = self._peers.get(peer)
        if state is None:
            return []
        received: list[Transaction] = []
        actions: list[Action] = []
        for raw in message.bodies:
            try:
                transaction = parse_transaction(raw)
            except InvalidEncoding:
                actions.append(Misbehaved(peer, "invalid-transaction-encoding"))
                break
            state.known.add(transaction.id)
            self._forget_want(transaction.id)
            if self._is_news(transaction.id, now_ms):
                received.append(transaction)
        if received:
            actions.append(TransactionsReceived(peer, tuple(received)))
        return actions

    # ------------------------------------------------------------------------------ requesting

    def on_announce(
        self, peer: PeerKey, message: AnnounceTransactions, now_ms: int
    ) -> list[Action]:
        """The peer has these; ask for those that we neither have nor asked for."""
        state = self._peers.get(peer)
        if state is None:
            return []
        for identifier in message.ids:
            state.known.add(identifier)
            state.outbox.pop(identifier, None)
            if identifier in state.offers or self._has(identifier):
                continue
            if self._is_recent(identifier, now_ms) or len(state.offers) >= OFFERS_MAX:
                continue
            want = self._wanted.get(identifier)
            if want is None:
                if len(self._wanted) >= WANTED_MAX and len(state.offers) >= OFFERS_GUARANTEED:
                    continue
                want = self._wanted[identifier] = _Want()
            if len(want.announcers) < ANNOUNCERS_MAX:
                want.announcers[peer] = None
                state.offers[identifier] = None
                if want.asked_of is None:
                    state.queue[identifier] = None
        return self._request(state, now_ms)

    def _request(self, peer: _Peer, now_ms: int) -> list[Action]:
        """Ask the peer for what is queued for it, as far as the limits let."""
        if now_ms < peer.paused_until_ms:
            return []
        ids: list[TxId] = []
        while peer.queue and len(peer.asked) < IN_FLIGHT_PER_PEER_MAX:
            if self._in_flight >= IN_FLIGHT_MAX and len(peer.asked) >= IN_FLIGHT_GUARANTEED:
                break
            identifier, _ = peer.queue.popitem(last=False)
            want = self._wanted.get(identifier)
            if want is None or want.asked_of is not None:
                continue
            if self._has(identifier):  # it came another way meanwhile
                self._forget_want(identifier)
                continue
            if not peer.asked:
                peer.progress_ms = now_ms
            want.asked_of = peer.key
            peer.asked[identifier] = now_ms
            self._in_flight += 1
            ids.append(identifier)
        return [
            SendTo(peer.key, GetTransactions(tuple(ids[start : start + INVENTORY_MAX])))
            for start in range(0, len(ids), INVENTORY_MAX)
        ]

    def _request_from(self, peers: Iterable[PeerKey], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        for key in peers:
            state = self._peers.get(key)
            if state is not None:
                actions += self._request(state, now_ms)
        return actions

    def _release(self, peer: _Peer, identifier: TxId) -> None:
        if peer.asked.pop(identifier, None) is not None:
            self._in_flight -= 1

    def _forget_want(self, identifier: TxId) -> None:
        """It is here, or nobody has it: open requests for it become late ones."""
        want = self._wanted.pop(identifier, None)
        if want is None:
            return
        for key in want.announcers:
            state = self._peers.get(key)
            if state is not None:
                state.offers.pop(identifier, None)
                state.queue.pop(identifier, None)
                if identifier in state.asked:
                    self._release(state, identifier)
                    state.late.add(identifier)

    def _drop_announcer(
        self, identifier: TxId, peer: PeerKey, touched: dict[PeerKey, None]
    ) -> None:
        """``peer`` will not deliver it: queue it for the next announcer, if there is one."""
        want = self._wanted.get(identifier)
        if want is None:
            return
        want.announcers.pop(peer, None)
        if want.asked_of is not None and want.asked_of != peer:
            return
        want.asked_of = None
        if not want.announcers:
            del self._wanted[identifier]
            return
        following = self._peers[next(iter(want.announcers))]
        following.queue[identifier] = None
        touched[following.key] = None

    # ------------------------------------------------------------------------------- receiving

    def on_transactions(self, peer: PeerKey, message: Transactions, now_ms: int) -> list[Action]:
        """Bodies that we asked for, decoded; the core judges them and announces the good ones."""
        state = self._peers.get(peer)
        if state is None:
            return []
        actions: list[Action] = []
        received: list[Transaction] = []
        for raw in message.bodies:
            try:
                transaction = parse_transaction(raw)
            except InvalidEncoding:
                actions.append(Misbehaved(peer, "invalid-transaction-encoding"))
                break
            verdict = self._accept(state, transaction.id, now_ms)
            if verdict is None:
                actions.append(Misbehaved(peer, "unsolicited"))
                break
            if verdict:
                received.append(transaction)
        if received:
            state.timeouts = state.missing = 0
            actions.append(TransactionsReceived(peer, tuple(received)))
        touched: dict[PeerKey, None] = {peer: None}
        for identifier in message.missing:
            if identifier in state.asked:
                state.missing += 1
                self._give_up(state, identifier, touched)
        if state.missing >= MISSING_MAX:
            actions += self._report(state, now_ms)
        return actions + self._request_from(touched, now_ms)

    def _accept(self, peer: _Peer, identifier: TxId, now_ms: int) -> bool | None:
        """True: welcome. False: asked for, but here already. None: never asked for."""
        if identifier in peer.asked:
            self._release(peer, identifier)
        elif not peer.late.discard(identifier):
            return None
        peer.progress_ms = now_ms
        peer.known.add(identifier)
        self._forget_want(identifier)
        return self._is_news(identifier, now_ms)

    def _is_news(self, identifier: TxId, now_ms: int) -> bool:
        """Whether its body came for the first time, as far as this is remembered."""
        if self._has(identifier) or self._is_recent(identifier, now_ms):
            return False
        if len(self._recent) >= RECENT_MAX:
            self._recent.popitem(last=False)
        self._recent[identifier] = now_ms
        return True

    def _is_recent(self, identifier: TxId, now_ms: int) -> bool:
        came_ms = self._recent.get(identifier)
        if came_ms is None:
            return False
        if now_ms - came_ms < RECENT_MS:
            return True
        del self._recent[identifier]
        return False

    def _give_up(self, peer: _Peer, identifier: TxId, touched: dict[PeerKey, None]) -> None:
        self._release(peer, identifier)
        peer.offers.pop(identifier, None)
        peer.queue.pop(identifier, None)
        self._drop_announcer(identifier, peer.key, touched)

    def _report(self, peer: _Peer, now_ms: int) -> list[Action]:
        peer.timeouts = peer.missing = 0
        peer.paused_until_ms = now_ms + PAUSE_MS
        touched: dict[PeerKey, None] = {}
        for identifier in list(peer.offers):
            if identifier in peer.asked:
                peer.late.add(identifier)
            self._give_up(peer, identifier, touched)
        return [Misbehaved(peer.key, "undelivered"), *self._request_from(touched, now_ms)]

    # --------------------------------------------------------------------------------- serving

    def on_get(self, peer: PeerKey, message: GetTransactions, now_ms: int) -> list[Action]:
        """Send the bodies, each once in the life of a link; ``missing`` otherwise."""
        state = self._peers.get(peer)
        if state is None:
            return []
        if len(state.owed) + len(message.ids) > OWED_MAX:
            return [Misbehaved(peer, "too-many-requests")]
        state.owed.extend(message.ids)
        return self._serve(state)

    def _serve(self, peer: _Peer) -> list[Action]:
        actions: list[Action] = []
        bodies: list[bytes] = []
        missing: list[TxId] = []
        frame_bytes = 0
        while peer.owed and peer.burst_bytes < SERVE_BURST_BYTES:
            identifier = peer.owed.popleft()
            raw = None if identifier in peer.sent else self._get(identifier)
            if raw is None:
                missing.append(identifier)
                continue
            if frame_bytes + len(raw) >= FRAME_BYTES_MAX:
                actions.append(SendTo(peer.key, Transactions(tuple(bodies))))
                bodies, frame_bytes = [], 0
            peer.sent.add(identifier)
            peer.known.add(identifier)
            peer.outbox.pop(identifier, None)
            bodies.append(raw)
            frame_bytes += len(raw) + 5  # MessagePack's length prefix
            peer.burst_bytes += len(raw)
        for start in range(INVENTORY_MAX, len(missing), INVENTORY_MAX):
            part = tuple(missing[start : start + INVENTORY_MAX])
            actions.append(SendTo(peer.key, Transactions((), part)))
        if bodies or missing:
            first = tuple(missing[:INVENTORY_MAX])
            actions.append(SendTo(peer.key, Transactions(tuple(bodies), first)))
        return actions

    # ------------------------------------------------------------------------------------ time

    def tick(self, now_ms: int) -> list[Action]:
        """Call it about every FLUSH_INTERVAL_MS: time-outs, announcements, postponed answers."""
        actions: list[Action] = []
        for peer in self._peers.values():
            actions += self._expire(peer, now_ms)
        for peer in self._peers.values():
            peer.burst_bytes = 0
            actions += self._serve(peer)
            actions += self._flush_if_due(peer, now_ms)
            actions += self._request(peer, now_ms)
        return actions

    def _expire(self, peer: _Peer, now_ms: int) -> list[Action]:
        if not peer.asked or now_ms - peer.progress_ms < REQUEST_TIMEOUT_MS:
            return []
        expired = [
            identifier
            for identifier, asked_ms in peer.asked.items()
            if now_ms - asked_ms >= REQUEST_TIMEOUT_MS
        ]
        if not expired:
            return []
        peer.timeouts += 1
        touched: dict[PeerKey, None] = {}
        for identifier in expired:
            peer.late.add(identifier)
            self._give_up(peer, identifier, touched)
        actions = self._request_from(touched, now_ms)
        return actions + (self._report(peer, now_ms) if peer.timeouts >= TIMEOUTS_MAX else [])

    # ------------------------------------------------------------------------------ for people

    def counts(self) -> dict[str, int]:
        """Sizes of what is held, for metrics and tests."""
        return {
            "peers": len(self._peers),
            "wanted": len(self._wanted),
            "in_flight": self._in_flight,
            "outbox": sum(len(peer.outbox) for peer in self._peers.values()),
            "recent": len(self._recent),
        }
