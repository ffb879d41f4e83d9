"""What the operator does on the host: migrate, make the first workspace and tokens, replay, verify."""
