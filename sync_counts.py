"""Counts what replicas had merged in this process, by socket and by HTTP, once it is committed.

Bare integers, added to once for each transaction; metrics.py tells them.
"""

from dataclasses import dataclass

from flask import Flask, current_app


@dataclass
class SyncCounts:
    """Sums since the start: changes that were stored, those re-issued among them, and refused."""

    merged: int = 0
    reissued: int = 0
    refused: int = 0

    def add(self, more: "SyncCounts") -> None:
        """Add what a transaction did."""
        self.merged += more.merged
        self.reissued += more.reissued
        self.refused += more.refused


def current_counts() -> SyncCounts:
    """The counts of the current app."""
    counts: SyncCounts = current_app.extensions["sync_counts"]
    return counts


def init_app(app: Flask) -> None:
    """Let `app` count."""
    app.extensions["sync_counts"] = SyncCounts()
