"""Turn harmonised records into documents. Pure and byte-stable."""
