"""Run a Kafka broker and stand-in registries on this machine, for the demo and the tests."""
