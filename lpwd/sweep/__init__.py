"""Many runs: which there are, what they take, and who trains them."""
