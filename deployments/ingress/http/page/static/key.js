/** The API key: in the browser's storage of this tab alone, so that it is gone with it. */

const NAME = "amanuensis-key";
const listeners = [];

/** Return the key; an empty text where there is none. */
export function key() {
  return sessionStorage.getItem(NAME) ?? "";
}

/** Keep a key, or forget it where the text is empty, and tell everybody who asked. */
export function keepKey(text) {
  if (text) {
    sessionStorage.setItem(NAME, text);
  } else {
    sessionStorage.removeItem(NAME);
  }
  listeners.forEach((listener) => listener());
}

/** Call a function after each change of the key. */
export function onKeyChange(listener) {
  listeners.push(listener);
}
