"""How ``amanuensis serve`` starts the service, watches over it, and leaves nothing behind."""
