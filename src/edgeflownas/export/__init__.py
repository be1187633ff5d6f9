"""From a trained subnet to files for a device: folded, eight-bit, verified against the float model."""
