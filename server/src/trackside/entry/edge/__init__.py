"""The edge process: feeds HAProxy, probes replicas, and answers private DNS."""
