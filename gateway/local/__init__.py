"""Run a Kafka broker and demo registries on this machine, for the demo and the tests."""
