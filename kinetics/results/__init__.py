"""Result files: rows, the files that hold them, and what is read out of them."""
