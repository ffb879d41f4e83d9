"""How the database came to be: one line of migrations for the platform, one that every workspace's schema goes through."""
