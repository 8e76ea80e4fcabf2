/** The languages that the model knows, by their names. */

import { make } from "./dom.js";

const NAMES = new Intl.DisplayNames("en", { type: "language", fallback: "none" });

/** Names that some browsers do not have. */
const MORE_NAMES = { ba: "Bashkir", bo: "Tibetan", haw: "Hawaiian", yue: "Cantonese" };

/** Fill a choice with the languages of these ISO codes; what was chosen stays. */
export function offerLanguages(select, codes) {
  const chosen = select.value;
  const named = codes.map((code) => ({ code, name: languageName(code) }));
  named.sort((one, other) => one.name.localeCompare(other.name, "en"));
  select.replaceChildren(
    make("option", { value: "auto", textContent: "Detect it" }),
    ...named.map(({ code, name }) => make("option", { value: code, textContent: name })),
  );
  select.value = codes.includes(chosen) ? chosen : "auto";
}

/** Return the name of an ISO code. */
export function languageName(code) {
  return NAMES.of(code) ?? MORE_NAMES[code] ?? code;
}
