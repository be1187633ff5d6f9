"""What a subnet costs on the target: operations, weights, memory, and time behind one interface."""
