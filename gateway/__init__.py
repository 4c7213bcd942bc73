"""An event-driven gateway between national qualification registries and EU platforms, on Kafka."""
