"""Read connector files and mapping tables. Nothing here uses the network or the clock."""
