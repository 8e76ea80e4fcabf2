"""How fast the service is, and how right its texts are, against others and against itself."""
