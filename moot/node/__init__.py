"""A node: driver, gate, importer, builder and core (sans-I/O); runtime, configuration and REST."""
