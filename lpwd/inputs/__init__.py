"""What a run reads: images, batches of them, and models with their weights."""
