"""The edge process: feeds HAProxy, probes replicas, answers private DNS, and takes over the access log."""
