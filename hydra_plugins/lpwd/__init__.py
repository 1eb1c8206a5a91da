"""Hydra plugins: the sweeper that knows the run store, and the launcher of this machine."""
