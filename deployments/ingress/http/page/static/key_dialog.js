/** Asks for the API key, where the service wants one. */

import { byId, showText } from "./dom.js";
import { wordsOf } from "./errors.js";
import { keepKey, key } from "./key.js";
import { documentAt } from "./service.js";

/** Make the dialog work; return a function that opens it. */
export function startKeyDialog() {
  const dialog = byId("key-dialog");
  const open = () => {
    byId("key-button").hidden = false;
    byId("key-forget").hidden = !key();
    byId("key").value = key();
    if (!dialog.open) {
      dialog.showModal();
    }
  };
  byId("key-button").onclick = open;
  byId("key-button").hidden = !key();
  byId("key-close").onclick = () => dialog.close();
  byId("key-forget").onclick = () => {
    keepKey("");
    dialog.close();
  };
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    use(byId("key").value.trim(), dialog);
  };
  return open;
}

async function use(token, dialog) {
  try {
    await documentAt("v1/models", token);
  } catch (error) {
    showText(byId("key-error"), wordsOf(error));
    return;
  }
  keepKey(token);
  showText(byId("key-error"), "");
  dialog.close();
}
