"""Objects (uploads) kept in a folder of the state directory."""
