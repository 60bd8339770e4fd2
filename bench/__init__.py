"""What a person runs, one question a file. In the installed package these files are `kinetics.benchmarks`."""
