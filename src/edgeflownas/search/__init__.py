"""Choosing a subnet: Pareto fronts and their confidence, what each choice is worth, search strategies."""
