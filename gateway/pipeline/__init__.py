"""Process records: poll registries, write pages, harmonise batches."""
