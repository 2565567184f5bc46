"""Looking at runs: figures and the self-contained report of `ra3-lab demo` and `ra3-lab midtrain`."""
