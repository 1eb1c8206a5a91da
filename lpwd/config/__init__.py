"""What a run is asked to be: the config's schema and checks, composing, rates, errors."""
