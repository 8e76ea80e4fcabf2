"""What several processes need: contracts, errors, settings, the model, shared memory. Imports no deployment."""
