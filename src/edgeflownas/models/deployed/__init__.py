"""The network as a chip runs it: its operators, its folded weights, and the arithmetic of eight-bit integers."""
