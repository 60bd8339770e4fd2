"""Facts: models, accelerators, attention policies, dtypes, and the units they are counted in."""
