"""The scenarios that the simulator plays."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """What may happen in a run; probabilities are per message or per write."""

    deletes: float = 0.0
    acking: float = 0.5  # share of clients that acknowledge what they receive
    steps: int = 160
    rows: int = 2  # few, so that everything collides
    late_pulls: float = 0.0
    readers: bool = False  # clients that never write, and reload their page
    counting: float = 0.0  # share of clients that count the lives of their rows
    one_author: bool = False  # only one client writes between two moments of quiet


DELETES = Scenario(deletes=0.25)
NO_DELETES = Scenario()
READERS = Scenario(readers=True)
LATE_PULLS = Scenario(deletes=0.25, late_pulls=0.5, rows=6)
COUNTING = Scenario(deletes=0.25, counting=1.0)
COUNTED_AUTHOR = Scenario(one_author=True, deletes=0.25, counting=1.0)
MIXED = Scenario(deletes=0.25, counting=0.5)
EARLY_ACKS = Scenario(late_pulls=0.5, acking=1.0, rows=6)
ONE_AUTHOR = Scenario(one_author=True, deletes=0.25)
