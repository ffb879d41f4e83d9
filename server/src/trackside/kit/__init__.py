"""The kit: clock, ids, errors, database, events, jobs. It could be a library: it knows nothing of Trackside's rooms."""
