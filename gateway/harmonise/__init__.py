"""Turn raw records into harmonised records. Pure: no clock, no file, no network."""
