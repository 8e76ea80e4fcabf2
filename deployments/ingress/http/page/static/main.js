/** Puts the parts of the page together. */

import { startActivity } from "./activity.js";
import { byId } from "./dom.js";
import { onKeyChange } from "./key.js";
import { startKeyDialog } from "./key_dialog.js";
import { offerLanguages } from "./languages.js";
import { startLive } from "./live.js";
import { startRecordings, take } from "./recording.js";
import { documentAt } from "./service.js";
import { startTabs } from "./tabs.js";

const openKeyDialog = startKeyDialog();
const openTab = startTabs(document.querySelector("[role=tablist]"));

startRecordings({ needsKey: openKeyDialog, open: () => openTab(byId("recording-tab")) });
startLive(openKeyDialog, take);

async function showLanguages() {
  try {
    const { data } = await documentAt("v1/models");
    offerLanguages(byId("recording-language"), data[0].languages);
    offerLanguages(byId("live-language"), data[0].languages);
  } catch (error) {
    if (error.status === 401) {
      openKeyDialog();
    }
  }
}

offerLanguages(byId("recording-language"), []);
offerLanguages(byId("live-language"), []);
onKeyChange(showLanguages);
showLanguages();
startActivity();
