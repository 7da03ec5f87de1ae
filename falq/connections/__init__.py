"""Maton's connections: which fal account a Maton key reaches.

    connection   what a connection is, and reading one
    control      list, create, get, delete
    waiting      until its owner has entered the fal key

Owns the calls to Maton's control API. It never sees a fal key: the owner enters
it on a page of Maton's. The command line's `connections` and `doctor` call it.
"""

from __future__ import annotations

from falq.connections.connection import Connection as Connection
from falq.connections.control import create_connection as create_connection
from falq.connections.control import delete_connection as delete_connection
from falq.connections.control import get_connection as get_connection
from falq.connections.control import list_connections as list_connections
from falq.connections.waiting import wait_active as wait_active

__all__ = [
    "Connection",
    "create_connection",
    "delete_connection",
    "get_connection",
    "list_connections",
    "wait_active",
]
