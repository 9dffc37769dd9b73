"""Spaces, the code model and everything that turns codes into measured architectures."""
