"""Names of the HTTP headers that the service and its clients exchange, in lower case as in ASGI."""

REQUEST_ID_HEADER = "x-request-id"
"""The request's id. Serve takes the client's own or makes one, and returns it with the response."""

PRIORITY_HEADER = "x-priority"
TIMEOUT_HEADER = "x-timeout-seconds"
REPLAY_HEADER = "x-replay-of"
DEVICE_HEADER = "x-encoder-device"
WARNINGS_HEADER = "x-warnings"
"""What a client should know of an answer that is otherwise good; the same as ``warnings`` in verbose_json."""

RETRY_AFTER_HEADER = "retry-after"
SHOULD_RETRY_HEADER = "x-should-retry"
"""Whether to repeat the request. OpenAI's clients obey it; without it they repeat every 5xx twice."""

LIMIT_HEADER = "x-ratelimit-limit-requests"
REMAINING_HEADER = "x-ratelimit-remaining-requests"
RESET_HEADER = "x-ratelimit-reset-requests"

BETA_HEADER = "openai-beta"
"""Which form of OpenAI's realtime protocol a client speaks: the older one, where it is ``realtime=v1``."""

LOCATION_HEADER = "location"
SIGNATURE_HEADER = "x-callback-signature"
"""``sha256=`` and the HMAC-SHA256 of a callback's body in hexadecimal digits."""
