"""What a command draws on a terminal while it runs, and nothing where there is none.

Owns the start and the end of rich's live display. What is drawn, and when, is
the business of each command's own picture: `live`, `batch_display` and
`demo.display` are the three.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from rich.console import RenderableType
from rich.live import Live

from falq.cli.output import Output


class Picture(ABC):
    """A live display, as a context; outside a terminal it draws nothing.

    Args:
        output: Where it is drawn, if that is a terminal.
        how: What `rich.live.Live` takes beside the console and the drawing.
    """

    def __init__(self, output: Output, **how: Any) -> None:
        self._live: Live | None = None
        if output.is_live:
            self._live = Live(
                console=output.console,
                get_renderable=self._draw,
                # On a terminal, data go above the picture. What goes elsewhere would
                # end up on the terminal too.
                redirect_stdout=sys.stdout.isatty(),
                **how,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def _draw(self) -> RenderableType:
        """Return what stands on the terminal now."""
