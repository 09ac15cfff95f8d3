"""What is refused as a rule, and can be allowed (refuse.py); needs no library."""

INVALID, MIXED, CONTAMINATED = ALLOWED = ("invalid", "mixed", "contaminated")
NOTHING: frozenset[str] = frozenset()
