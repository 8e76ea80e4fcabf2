"""The picture of the Grafana dashboard: Prometheus watches a service under load, the dashboard's panels are drawn."""
