"""The search spaces that Vitruvius brings; importing this registers them."""
