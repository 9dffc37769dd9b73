"""What tests of Vitruvius, and of your own parts for it, are made of."""
