"""How the world is touched: one folder per technology, each behind ports of the rooms, each deletable."""
