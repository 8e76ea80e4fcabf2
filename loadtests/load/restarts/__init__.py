"""Starting and stopping a service in every way, at random moments, under load: nothing may be left behind."""
