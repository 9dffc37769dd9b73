"""Vitruvius searches for neural network architectures with language models, and remembers what it learned."""
