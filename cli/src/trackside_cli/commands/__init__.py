"""The commands, one file per noun: they ask the client and hand the answer to the printer."""
