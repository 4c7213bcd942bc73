"""Talk to Kafka: connections, transactions, topics."""
