"""What a model is told and shown, and what its answers mean."""
