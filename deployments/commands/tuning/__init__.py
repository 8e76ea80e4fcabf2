"""What `amanuensis model tune` does: averages of the silence behind speech, and the check of their use. No service."""
