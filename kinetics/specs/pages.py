"""Page arithmetic: how many pages a context fills, what its last one holds, how many keys the pages kept hold.

A page holds `page_size` tokens. The last page of a context, its current one, alone can be partial.
"""

from __future__ import annotations


def num_pages_for(context_len: int, page_size: int) -> int:
    """Pages that hold `context_len` tokens, the last one possibly partial."""
    return -(-context_len // page_size)


def tokens_in_last_page(context_len: int, page_size: int) -> int:
    """Tokens in the current page, the newest one included: 1 to `page_size`."""
    return (context_len - 1) % page_size + 1


def num_kept_keys(context_len: int, page_size: int, *, num_kept_pages: int) -> int:
    """Keys in the pages kept, or in all if there are no more; the current page is always among them."""
    num_full = min(num_kept_pages, num_pages_for(context_len, page_size)) - 1
    return num_full * page_size + tokens_in_last_page(context_len, page_size)
