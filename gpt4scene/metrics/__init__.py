"""What benchmarks measure with: text against text, number against number, box against box."""
