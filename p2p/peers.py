"""Whom we know, whom to dial next, whom not to talk to (sans-I/O).

The table follows Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (USENIX
Security 2015), in small: addresses that were only heard of (*new*) are kept apart from those
where the right key answered (*tried*); both are bounded, also by source and by network group, and
half of the dials go to each, so that nobody who talks a lot can fill the table or our links.
Static peers, those that an operator configured, are always dialed and never dropped.

All times are wall-clock milliseconds, given by the caller; the clock may step.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import msgspec

from chain import codec
from chain.codec import Hash, Record, Uint
from p2p.handshake import PERMANENT, TOO_MANY_PEERS
from p2p.wire import ADDRESSES_MAX, PeerAddress

NEW_MAX: Final = 1_024
"""Addresses heard of; about 100 kB on disk."""
NEW_PER_SOURCE_MAX: Final = 64
"""Of these, how many one network group may tell us."""
NEW_PER_GROUP_MAX: Final = 64
"""Of these, how many may lie in one network group."""
TRIED_MAX: Final = 256
TRIED_PER_GROUP_MAX: Final = 32
TRIED_FRESH_MS: Final = 24 * 3_600_000
"""A tried address that worked within a day is not pushed out by a newer one."""
NEW_FAILURES_MAX: Final = 5
TRIED_FAILURES_MAX: Final = 10
"""Failed dials in a row after which an address is forgotten."""

STATIC_BACKOFF_MS: Final = (250, 15_000)
"""First and longest wait between dials of a static peer: a restarted member is back in seconds."""
BACKOFF_MS: Final = (5_000, 3_600_000)
"""The same for strangers."""
STABLE_MS: Final = 10_000
"""A link that held this long has earned a fresh back-off."""

BAN_MS: Final = 3_600_000
STATIC_BAN_MS: Final = 60_000
"""An operator's own peers are banned too, but not for long: the network may need them."""
BANS_MAX: Final = 1_024
HOST_KEYS_MAX: Final = 3
"""Keys cost nothing: a host with this many banned keys is banned itself (never this machine)."""

LOOPBACK, PRIVATE, GLOBAL = range(3)


def reach(host: str) -> int | None:
    """From where an IP address makes sense: this machine, a private network, anywhere.

    None: not an address that could be dialed, or a name (names come from operators only). A scope
    (``fe80::1%eth0``) means something on its teller's machine only.
    """
    if "%" in host:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return LOOPBACK
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return None
    return PRIVATE if address.is_private or address.is_link_local else GLOBAL


def group(host: str) -> str:
    """The part of a network that one party can be assumed to own: IPv4 /16, IPv6 /32."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"name {host}"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return address.packed[:4].hex()
        address = address.ipv4_mapped
    return ".".join(str(address).split(".")[:2])


class StaticPeer(NamedTuple):
    """A configured peer. ``key`` None: whoever answers at that address."""

    host: str
    port: int
    key: bytes | None = None


@dataclass(slots=True)
class Entry:
    """One address. ``key``: who must answer; for a bare static address, who did last."""

    host: str
    port: int
    key: bytes | None
    source: str
    static: bool = False
    pinned: bool = True
    tried: bool = False
    proven_ms: int = 0
    failures: int = 0
    due_ms: int = 0
    linked_ms: int = 0
    group: str = ""

    def __post_init__(self) -> None:
        self.group = group(self.host)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        return (self.host, self.port)


class StoredAddress(Record, frozen=True):
    """An entry on disk."""

    key: Hash
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    source: Annotated[str, msgspec.Meta(max_length=300)]
    tried: bool
    proven_ms: Uint


class StoredBan(Record, frozen=True):
    """A ban on disk."""

    key: Hash
    host: Annotated[str, msgspec.Meta(max_length=253)]
    until_ms: Uint


class StoredBook(Record, frozen=True):
    """The table on disk; static peers are in the configuration instead."""

    addresses: Annotated[tuple[StoredAddress, ...], msgspec.Meta(max_length=NEW_MAX + TRIED_MAX)]
    bans: Annotated[tuple[StoredBan, ...], msgspec.Meta(max_length=BANS_MAX)]


STORED_SIZE_MAX: Final = 1024 * 1024


class PeerBook:
    """The table. ``rng`` is used for jitter and for choosing.

    ``own_key``: set by the transport; never learned, never dialed.
    """

    def __init__(self, rng: random.Random, static: Sequence[StaticPeer] = ()) -> None:
        self._rng = rng
        self.own_key: bytes | None = None
        self._entries: dict[tuple[str, int], Entry] = {}
        self._static: dict[tuple[str, int], Entry] = {}
        self._bans: dict[bytes, StoredBan] = {}
        for peer in static:
            self.add_static(peer)

    def add_static(self, peer: StaticPeer) -> None:
        """Adds a configured peer, or makes a known address one."""
        pinned = peer.key is not None
        entry = Entry(peer.host, peer.port, peer.key, "", static=True, pinned=pinned)
        self._entries[entry.place] = self._static[entry.place] = entry

    def remove_static(self, host: str, port: int) -> None:
        """Forgets a configured peer."""
        if self._static.pop((host, port), None) is not None:
            del self._entries[(host, port)]

    def is_static(self, key: bytes) -> bool:
        """Whether an operator configured this key (or an address where it answered)."""
        return any(entry.key == key for entry in self._static.values())

    def static_at(self, host: str, port: int) -> Entry | None:
        """The entry of an address that an operator configured; None for any other."""
        return self._static.get((host, port))

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """All entries, in the order in which they came."""
        return list(self._entries.values())

    # -- hearing of addresses

    def learn(self, addresses: Iterable[PeerAddress], source_host: str) -> int:
        """Takes addresses that a peer told; how many were new and had room.

        A peer on the internet cannot make us dial our own machine or our private network.
        """
        source_reach = reach(source_host)
        added = 0
        for address in addresses:
            where = reach(address.host)
            if where is None or source_reach is None or where < source_reach:
                continue
            if address.key == self.own_key:
                continue
            entry = Entry(address.host, address.port, address.key, group(source_host))
            added += self._add_new(entry)
        return added

    def _add_new(self, entry: Entry) -> bool:
        if entry.place in self._entries:
            return False
        new = [other for other in self._entries.values() if not other.tried and not other.static]
        if sum(other.source == entry.source for other in new) >= NEW_PER_SOURCE_MAX:
            return False
        if sum(other.group == entry.group for other in new) >= NEW_PER_GROUP_MAX:
            return False
        if len(new) >= NEW_MAX:
            worst = max(other.failures for other in new)
            victim = self._rng.choice([other for other in new if other.failures == worst])
            del self._entries[victim.place]
        self._entries[entry.place] = entry
        return True

    def proven(self, key: bytes, host: str, port: int, now_ms: int) -> None:
        """A peer that proved ``key`` links from ``host`` and says that it listens on ``port``."""
        if reach(host) is None or not 1 <= port <= 65535:
            return
        entry = self._entries.get((host, port))
        if entry is not None and entry.key != key and not entry.static and not entry.tried:
            # Hearsay gives way to who speaks for itself.
            del self._entries[entry.place]
        self._add_new(Entry(host, port, key, group(host)))
        entry = self._entries.get((host, port))
        if entry is not None and entry.key == key:
            entry.proven_ms = now_ms

    # -- dialing

    def candidates(
        self,
        now_ms: int,
        connected: Collection[bytes],
        dialing: Collection[tuple[str, int]],
        wanted: int,
        admitted: Callable[[bytes], bool] = lambda key: True,
    ) -> list[Entry]:
        """Whom to dial now: every static peer that is due, and up to ``wanted`` strangers."""
        banned = self._banned_hosts(now_ms)
        due = [
            entry
            for entry in self._entries.values()
            if self._is_due(entry, now_ms)
            and entry.place not in dialing
            and (entry.key is None or entry.key not in connected)
            and (entry.key is None or entry.key != self.own_key)
            and (entry.key is None or not entry.pinned or admitted(entry.key))
            and (entry.key is None or not self._is_key_banned(entry.key, now_ms))
            and (entry.static or entry.host not in banned)
        ]
        chosen = [entry for entry in due if entry.static]
        strangers = [entry for entry in due if not entry.static]
        seen = {entry.key for entry in chosen}
        while strangers and wanted > 0:
            tried = [entry for entry in strangers if entry.tried]
            new = [entry for entry in strangers if not entry.tried]
            pool = (tried or new) if self._rng.random() < 0.5 else (new or tried)
            entry = self._rng.choice(pool)
            strangers.remove(entry)
            if entry.key not in seen:
                seen.add(entry.key)
                chosen.append(entry)
                wanted -= 1
        return chosen

    @staticmethod
    def _is_due(entry: Entry, now_ms: int) -> bool:
        # A clock that stepped back must not put dials off for longer than the longest wait.
        return entry.due_ms <= now_ms or entry.due_ms > now_ms + BACKOFF_MS[1]

    def connected(self, host: str, port: int, key: bytes, now_ms: int) -> None:
        """A dial succeeded: ``key`` answered there."""
        entry = self._entries.get((host, port))
        if entry is None:
            return
        entry.linked_ms = entry.proven_ms = now_ms
        if not entry.pinned:
            entry.key = key
        if not entry.tried and not entry.static:
            self._make_tried(entry, now_ms)

    def _make_tried(self, entry: Entry, now_ms: int) -> None:
        tried = [other for other in self._entries.values() if other.tried and not other.static]
        same = [other for other in tried if other.group == entry.group]
        rivals = same if len(same) >= TRIED_PER_GROUP_MAX else tried
        if len(same) >= TRIED_PER_GROUP_MAX or len(tried) >= TRIED_MAX:
            oldest = min(rivals, key=lambda other: other.proven_ms)
            if now_ms - oldest.proven_ms < TRIED_FRESH_MS:
                return
            oldest.tried = False
        entry.tried = True

    def answered(self, host: str, port: int, key: bytes) -> None:
        """Who answered at a bare address, also where no link came of it."""
        entry = self._entries.get((host, port))
        if entry is not None and not entry.pinned:
            entry.key = key

    def disconnected(self, host: str, port: int, now_ms: int) -> None:
        """A dialed link ended."""
        entry = self._entries.get((host, port))
        if entry is None:
            return
        if now_ms - entry.linked_ms >= STABLE_MS:
            entry.failures = 0
        self._put_off(entry, now_ms)

    def failed(self, host: str, port: int, reason: str, now_ms: int) -> None:
        """A dial failed, or was refused for ``reason``."""
        entry = self._entries.get((host, port))
        if entry is None:
            return
        if not entry.static:
            limit = TRIED_FAILURES_MAX if entry.tried else NEW_FAILURES_MAX
            if reason in PERMANENT or (entry.failures >= limit - 1 and reason != TOO_MANY_PEERS):
                del self._entries[entry.place]
                return
        elif reason in PERMANENT:
            entry.failures = 16  # straight to the longest wait
        self._put_off(entry, now_ms)

    def _put_off(self, entry: Entry, now_ms: int) -> None:
        first_ms, longest_ms = STATIC_BACKOFF_MS if entry.static else BACKOFF_MS
        wait_ms = min(longest_ms, first_ms << min(entry.failures, 16))
        entry.failures += 1
        # Jitter: half to whole, so that a cluster that restarts does not dial in step.
        entry.due_ms = now_ms + wait_ms // 2 + self._rng.randrange(wait_ms // 2 + 1)

    def retry_static(self) -> None:
        """Static peers are due at once: who failed or was refused may be welcome now."""
        for entry in self._entries.values():
            if entry.static:
                entry.failures = entry.due_ms = 0

    # -- telling others

    def share(self, to_key: bytes, to_host: str, now_ms: int) -> tuple[PeerAddress, ...]:
        """Addresses for a peer that asks: only those where the key has answered within a day."""
        to_reach = reach(to_host)
        if to_reach is None:
            return ()
        banned = self._banned_hosts(now_ms)
        known = [
            PeerAddress(entry.key, entry.host, entry.port)
            for entry in self._entries.values()
            if entry.key is not None
            and entry.key != to_key
            and 0 < now_ms - TRIED_FRESH_MS < entry.proven_ms
            and (where := reach(entry.host)) is not None
            and where >= to_reach
            and entry.host not in banned
            and not self._is_key_banned(entry.key, now_ms)
        ]
        return tuple(self._rng.sample(known, min(len(known), ADDRESSES_MAX)))

    # -- bans

    def ban(self, key: bytes, host: str, now_ms: int, duration_ms: int | None = None) -> int:
        """Bans a key; until when, in milliseconds."""
        if duration_ms is None:
            duration_ms = STATIC_BAN_MS if self.is_static(key) else BAN_MS
        until_ms = now_ms + duration_ms
        self._bans.pop(key, None)
        self._bans[key] = StoredBan(key, host, until_ms)
        if len(self._bans) > BANS_MAX:
            del self._bans[min(self._bans, key=lambda other: self._bans[other].until_ms)]
        return until_ms

    def unban(self, key: bytes) -> bool:
        """Lifts a ban; whether there was one."""
        return self._bans.pop(key, None) is not None

    def bans(self, now_ms: int) -> list[StoredBan]:
        """The bans in force."""
        return [ban for ban in self._bans.values() if ban.until_ms > now_ms]

    def is_banned(self, key: bytes, host: str, now_ms: int) -> bool:
        """Whether to refuse this key, or any key from this host."""
        if self._is_key_banned(key, now_ms):
            return True
        return self.is_host_banned(host, now_ms) and not self.is_static(key)

    def is_host_banned(self, host: str, now_ms: int) -> bool:
        """Whether so many keys of this host are banned that the host is."""
        return host in self._banned_hosts(now_ms)

    def _is_key_banned(self, key: bytes, now_ms: int) -> bool:
        ban = self._bans.get(key)
        return ban is not None and ban.until_ms > now_ms

    def _banned_hosts(self, now_ms: int) -> frozenset[str]:
        if not self._bans:
            return frozenset()
        hosts = Counter(ban.host for ban in self.bans(now_ms))
        return frozenset(
            host
            for host, count in hosts.items()
            if host and count >= HOST_KEYS_MAX and reach(host) != LOOPBACK
        )

    # -- disk

    def to_bytes(self) -> bytes:
        """The table without its static peers, for the node to store."""
        return codec.encode(
            StoredBook(
                tuple(
                    StoredAddress(
                        entry.key,
                        entry.host,
                        entry.port,
                        entry.source,
                        entry.tried,
                        entry.proven_ms,
                    )
                    for entry in self._entries.values()
                    if entry.key is not None and not entry.static
                ),
                tuple(self._bans.values()),
            )
        )

    def load(self, data: bytes) -> None:
        """Adds what ``to_bytes`` gave. Raises InvalidEncoding, and then has added nothing."""
        stored = codec.decode(data, StoredBook, STORED_SIZE_MAX)
        for address in stored.addresses:
            if (address.host, address.port) not in self._entries:
                self._entries[(address.host, address.port)] = Entry(
                    address.host,
                    address.port,
                    address.key,
                    address.source,
                    tried=address.tried,
                    proven_ms=address.proven_ms,
                )
        for ban in stored.bans:
            self._bans[ban.key] = ban
