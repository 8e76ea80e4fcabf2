/** Asks the service, which is wherever the page came from. */

import { ServiceError, errorOf } from "./errors.js";
import { key } from "./key.js";

/** The address that all paths of the service begin with. */
export const ROOT = new URL("../", import.meta.url);

export const UNREACHABLE = "The service cannot be reached, or the connection broke. Try again.";

/** Return the headers that carry a key. */
export function authorization(token = key()) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Return the answer to a GET and its document; one of another status than 2xx too. */
export async function answerOf(path, token = key()) {
  try {
    const answer = await fetch(new URL(path, ROOT), { headers: authorization(token), cache: "no-store" });
    return { answer, body: await answer.text() };
  } catch {
    throw new ServiceError({ message: UNREACHABLE });
  }
}

/** Return the document at a path, or throw the error that the service tells. */
export async function documentAt(path, token = key()) {
  const { answer, body } = await answerOf(path, token);
  if (!answer.ok) {
    throw errorOf(answer.status, body, (name) => answer.headers.get(name));
  }
  return JSON.parse(body);
}
