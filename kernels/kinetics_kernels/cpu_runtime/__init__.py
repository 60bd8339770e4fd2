"""What the CPU backends share: torch's threads, the few instructions numba lacks, attention over page lists."""
