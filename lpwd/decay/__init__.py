"""The library: six weight decays for any torch optimizer, their rates by layer, and R_op."""
