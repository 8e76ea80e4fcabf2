"""The crowd test: patient clients and uploads of an hour; who is answered, what others hear, and whether it is true."""
