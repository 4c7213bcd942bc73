"""Interoperability gateway between national qualification registries and EU infrastructures, on Kafka."""
