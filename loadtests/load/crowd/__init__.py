"""A crowd of patient clients, and uploads of an hour: who is answered, what the others hear, and whether it is true."""
