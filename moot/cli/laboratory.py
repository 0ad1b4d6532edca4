"""The ``lab`` group with all its commands, also those that live in files of their own."""

from __future__ import annotations

from moot.cli.lab import lab
from moot.cli.lab_bench import bench
from moot.cli.lab_cost import cost
from moot.cli.lab_replay import replay
from moot.cli.lab_scenario import scenario

lab.add_command(bench)
lab.add_command(cost)
lab.add_command(replay)
lab.add_command(scenario)

__all__ = ["lab"]
