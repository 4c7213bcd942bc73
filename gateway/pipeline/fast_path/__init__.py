"""Process common records with one generated function, from the raw record to its documents.

The closures of the rules and the renderers define what a record becomes. The fast path gives the
same result for the records that it knows, and no result for all others. Those go the ordinary way.
"""
