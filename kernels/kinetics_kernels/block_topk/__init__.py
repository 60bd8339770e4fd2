"""Block top-k decode attention: score the pages, select some, attend to those. One module per backend."""
