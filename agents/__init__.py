"""The session and what thinks in it: reasoners, selection, budget."""
