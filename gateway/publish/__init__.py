"""To Kafka: topics, events, transactions."""
