"""Convert single values: text, dates, codes, numbers."""
