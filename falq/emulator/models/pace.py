"""How long a run takes and what it prints meanwhile.

Owns the shape of the run-time distribution and of a progress line. It never
draws chance: the queue passes the uniform draw in. The models ask it with their
own medians.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from attrs import field, frozen, validators

# Beyond three deviations a log-normal gives runs that no real service would
# have let live; a draw of exactly 0 has no quantile at all.
TAIL = 3.0
BAR_WIDTH = 10


@frozen(kw_only=True)
class Pace:
    """A log-normal distribution of run times.

    Attributes:
        median_s: Half of the runs are shorter, in seconds. Above 0.
        spread: Standard deviation of the logarithm. 0 makes every run the same.
    """

    median_s: float = field(validator=validators.gt(0))
    spread: float = field(default=0.25, validator=validators.ge(0))

    def run_time_s(self, *, draw: float) -> float:
        """Return the quantile at `draw`, a number from [0, 1), in seconds.

        Example:
            >>> Pace(median_s=3.0).run_time_s(draw=0.5)
            3.0
        """
        edge = NormalDist().cdf(-TAIL)
        deviations = NormalDist().inv_cdf(min(max(draw, edge), 1.0 - edge))
        return self.median_s * math.exp(self.spread * deviations)


def progress_lines(
    total: int, *, duration_s: float, unit: str = "it", most: int = 6
) -> tuple[str, ...]:
    """Return the lines of a progress bar that counts to `total`.

    Args:
        total: Steps of the whole run. Above 0.
        duration_s: Seconds the whole run is taken to last. Above 0.
        unit: Name of one step.
        most: Lines at most, besides the first one at zero.
    """
    rate = total / duration_s
    lines = [f"  0%|{' ' * BAR_WIDTH}| 0/{total} [00:00<?, ?{unit}/s]"]
    for line in range(1, min(total, most) + 1):
        done = total * line // min(total, most)
        bar = ("#" * (BAR_WIDTH * done // total)).ljust(BAR_WIDTH)
        gone, left = _clock(done / rate), _clock((total - done) / rate)
        percent = 100 * done // total
        lines.append(f"{percent:3d}%|{bar}| {done}/{total} [{gone}<{left}, {rate:.2f}{unit}/s]")
    return tuple(lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
