"""Maton's connections: which fal account a Maton key reaches.

    control   the list of connections

Owns the calls to Maton's control API. It never makes or deletes a connection.
The command line's `doctor` calls it.
"""

from __future__ import annotations

from falq.connections.control import Connection as Connection
from falq.connections.control import list_connections as list_connections

__all__ = ["Connection", "list_connections"]
