"""From a trained conventional network to a spiking one: folding, thresholds, neurons, simulation, the error."""
