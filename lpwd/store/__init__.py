"""What identifies a run, and the store that keeps each run once."""
