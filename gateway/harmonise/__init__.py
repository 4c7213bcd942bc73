"""Turn raw records into harmonised records, without a clock, a file or the network."""
