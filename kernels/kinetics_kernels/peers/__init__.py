"""Implementations measured side by side, one file each: ours, and the strongest that others offer."""
