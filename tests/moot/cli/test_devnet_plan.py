"""A devnet that is kept and resumed: what may change with the second start, and what may not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from moot.cli.devnet.control import check_idle, control_path
from moot.cli.devnet.plan import HOST, folder_of, free_ports, open_or_make
from moot.node.config import ConfigError
from moot.node.rest.control import ControlFile


def test_parameters_that_the_genesis_fixed_are_not_ignored(tmp_path: Path) -> None:
    kept = tmp_path / "net"
    open_or_make(kept, "raft", 1, {"heartbeat_ms": 40}, first_port=0)
    open_or_make(kept, None, None, {"heartbeat_ms": 40, "blocks_in_flight": 4})
    with pytest.raises(ConfigError, match="its heartbeat_ms is 40"):
        open_or_make(kept, None, None, {"heartbeat_ms": 20})
    with pytest.raises(ConfigError, match="it has no slot_ms"):
        open_or_make(kept, None, None, {"slot_ms": 20})


def test_the_first_nodes_port_is_kept_until_another_is_asked_for(tmp_path: Path) -> None:
    kept, (one, other) = tmp_path / "net", free_ports(2)
    assert open_or_make(kept, "raft", 2, {}, first_port=one).nodes[0].rest_port == one
    assert open_or_make(kept, None, None, {}).nodes[0].rest_port == one
    plan = open_or_make(kept, None, None, {}, first_port=other)
    assert plan.nodes[0].rest_port == other
    assert folder_of(kept, plan.nodes[0]).load_config().rest.port == other
    with socket.socket() as taken:
        taken.bind((HOST, one))
        assert open_or_make(kept, None, None, {}, first_port=one).nodes[0].rest_port == other


def test_no_second_devnet_runs_in_one_folder(tmp_path: Path) -> None:
    check_idle(tmp_path)
    with socket.socket() as control:
        control.bind((HOST, 0))
        control.listen()
        note = ControlFile(f"http://{HOST}:{control.getsockname()[1]}", "token", os.getpid())
        control_path(tmp_path).write_bytes(msgspec.json.encode(note))
        with pytest.raises(ConfigError, match=f"already .process {os.getpid()}."):
            check_idle(tmp_path)
    check_idle(tmp_path)  # killed, and its number given to somebody else
