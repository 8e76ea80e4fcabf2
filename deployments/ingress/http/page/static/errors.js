/** Errors in the service's own words. */

/**
 * An error that the service told.
 *
 * `code` is the service's, such as `queue_full`; `status` that of HTTP, 0 for an event of a stream.
 */
export class ServiceError extends Error {
  constructor({ message, code = "", status = 0, requestId = "", retryAfterS = "" }) {
    super(message);
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
}

/** Return the error of an answer; `header(name)` gives its headers. */
export function errorOf(status, body, header) {
  const told = {
    status,
    requestId: header("x-request-id") ?? "",
    retryAfterS: header("retry-after") ?? "",
  };
  try {
    const { message, code } = JSON.parse(body).error;
    return new ServiceError({ ...told, message, code });
  } catch {
    // A proxy's page, or nothing at all.
    return new ServiceError({ ...told, message: `The service answered with HTTP ${status} and no reason.` });
  }
}

/** Return the error of an event, of a stream or of a live session. */
export function errorOfEvent(event) {
  return new ServiceError(event.error);
}

/** Return what the user is shown: what is wrong, its code, and when to come back. */
export function wordsOf(error) {
  const parts = [/[.!?]$/.test(error.message) ? error.message : `${error.message}.`];
  if (error.retryAfterS) {
    parts.push(`Try again in ${error.retryAfterS} s.`);
  }
  const marks = [error.code, error.status >= 500 && error.requestId && `request ${error.requestId}`].filter(Boolean);
  return marks.length ? `${parts.join(" ")} (${marks.join(", ")})` : parts.join(" ");
}
