"""An event-driven gateway between national qualification registries and European platforms."""
