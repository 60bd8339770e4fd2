"""Model families: what the fields of their config.json mean, as layers of known kinds."""
