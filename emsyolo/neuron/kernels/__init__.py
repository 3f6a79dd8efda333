"""The arithmetic of the neurons; every back-end must give the spikes and gradients of `reference`."""
