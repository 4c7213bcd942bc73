"""A real single-node Kafka and stand-in registries on this machine, for the demo and the tests."""
