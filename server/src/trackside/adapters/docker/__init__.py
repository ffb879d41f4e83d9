"""The container engine, spoken to by its HTTP API: the runtime, and the images it runs."""
