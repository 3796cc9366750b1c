"""The field's benchmarks: one file each, with its questions and its official ways of scoring them."""
