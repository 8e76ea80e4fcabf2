"""What the commands that talk to a running service share: they need its URL and, where it has keys, one of them."""
