"""Try a connector or mapping file without Kafka."""
