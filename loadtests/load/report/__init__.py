"""The page that is made of the raw results of the load scenarios."""
