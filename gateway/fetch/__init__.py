"""Get pages of records from a registry. Knows protocols, knows no Kafka."""
