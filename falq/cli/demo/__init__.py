"""Show falq at work without an account: jobs on an emulated queue, and a page of them.

    plan       which jobs, and which of them shall fail
    ledger     what is known of each job while it runs
    run        emulator, session and downloads around them
    display    the live picture of it
    report     summary and page

Owns the demonstration and nothing that a real batch would use.
"""

from __future__ import annotations

from falq.cli.demo.run import demonstrate as demonstrate

__all__ = ["demonstrate"]
