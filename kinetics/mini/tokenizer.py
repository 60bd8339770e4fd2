"""The tokenizer of the miniature contest: one token per symbol, texts come back exactly as they went in."""

from __future__ import annotations

import re
from typing import Final

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from kinetics.mini.contest import END, SYMBOLS

UNKNOWN: Final = "<unk>"
TOKEN_IDS: Final = {symbol: index for index, symbol in enumerate((UNKNOWN, END, *SYMBOLS))}
"""The number of each symbol, of the end, and of whatever is no symbol."""
END_ID: Final = TOKEN_IDS[END]


def make_tokenizer() -> Tokenizer:
    """A tokenizer to be stored as `tokenizer.json`; the end is special, so that decoding leaves it out."""
    tokenizer = Tokenizer(WordLevel(vocab=TOKEN_IDS, unk_token=UNKNOWN))
    longest_first = sorted(SYMBOLS, key=len, reverse=True)
    tokenizer.pre_tokenizer = Split(Regex("|".join(re.escape(symbol) for symbol in longest_first)), "isolated")
    tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens([END])
    return tokenizer
