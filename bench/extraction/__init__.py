"""Compare the extraction of a registry, without Kafka, with other tools."""
