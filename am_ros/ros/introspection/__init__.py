"""Looking at a running graph: a client, a prober, who publishes what."""
