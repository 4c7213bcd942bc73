"""Helpers of the tests: brokers, workers, registries, certificates, samples and oracles."""
