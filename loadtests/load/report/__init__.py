"""One page of the raw results of load tests: ``python -m loadtests.load.report RUN [OTHER_RUN] -o page.html``."""
