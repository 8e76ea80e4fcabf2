"""Load tests with locust: each scenario offers a load, records what becomes of it, and passes or fails by its criteria.

Two processes take part beside the service: the generator (locust, gevent) offers the load, the runner starts the
service, samples its metrics and memory once a second, and judges.
"""
