"""Evaluators: tables, training; and the task that ties one to a space."""
