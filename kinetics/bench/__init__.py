"""What the files under `bench/` stand on: options, the run and its journal, the closing summary, AIME's cases."""
