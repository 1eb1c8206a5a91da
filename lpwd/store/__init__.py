"""What a run is, and where each is kept once."""
