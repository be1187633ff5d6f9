"""Choosing subnets: fronts, and strategies for spaces that are too large to rank."""
