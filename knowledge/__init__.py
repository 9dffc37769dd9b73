"""Predicates, principles, evidence, the ledger, and the store that answers questions."""
