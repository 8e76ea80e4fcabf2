"""What a service does under load: scenarios, overload, crowds, chaos, growth."""
