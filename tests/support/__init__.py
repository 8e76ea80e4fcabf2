"""What tests share: scripted stages, models, services. No tests."""
