"""Runs these migrations on the connection that was handed in."""

from trackside.migrations.run import migrate_here

migrate_here()
