"""What there is to know of each space's networks, one file for each."""
