"""What is odd in the server's answers, told to the log once each.

Owns what was told already in its session. It changes nothing: an unknown status
means "not finished", and a foreign address in an answer is never used (promises
C11, C26). The queue client and the driver show it what they read.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from falq._core.messages import Reply
from falq.gateways import FAL_QUEUE_URLS
from falq.model import Status
from falq.text import printable

logger = logging.getLogger("falq")

MOST_TOLD = 100
"""Words and addresses that are told: a server that makes up new ones fills no log."""

_LONGEST = 100
# Scheme and authority only; JSON may escape the slashes.
_ADDRESS = re.compile(
    rb'"(?:response|status|cancel)_url"\s*:\s*"([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}[^/"\\?#]{1,300})'
)


class Oddities:
    """The oddities of one session.

    Args:
        queue_root: Address below which the gateway's queue lies.
    """

    def __init__(self, queue_root: str) -> None:
        own = urlsplit(queue_root)
        # Maton, and whoever passes fal's answers on, leaves fal's own addresses in them.
        addresses = {f"{own.scheme}://{own.netloc}", *FAL_QUEUE_URLS}
        self._known = {address.encode() for address in addresses}
        self._told: set[str | bytes] = set()

    def see_status(self, status: Status) -> None:
        """Look at a status that was read."""
        if type(status) is Status and self._is_new(status.word):
            logger.warning(
                "the server says %s, a status that falq does not know: the job counts as not "
                "finished; told once",
                printable(repr(status.word), limit=_LONGEST),
            )

    def see_receipt(self, reply: Reply) -> None:
        """Look at the answer to a submit."""
        for found in _ADDRESS.findall(reply.body):
            address = found.replace(b"\\", b"")
            if address not in self._known and self._is_new(address):
                logger.warning(
                    "an answer names the foreign address %s for a job: it is not used, calls go "
                    "to the gateway; told once",
                    printable(address.decode("utf-8", "replace"), limit=_LONGEST),
                )

    def _is_new(self, one: str | bytes) -> bool:
        if one in self._told or len(self._told) >= MOST_TOLD:
            return False
        self._told.add(one)
        return True
