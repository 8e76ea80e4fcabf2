"""Which window goes where and when: admission, the pipeline of a request, calls of the stages. Runs in the ingress."""
