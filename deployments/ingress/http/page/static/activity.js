/** What the service is doing at the moment. */

import { byId, make, showText } from "./dom.js";
import { errorOf, wordsOf } from "./errors.js";
import { key, onKeyChange } from "./key.js";
import { answerOf, documentAt } from "./service.js";
import { stagesNow } from "./stages.js";

const EVERY_MS = 2000;
const DENIED = [401, 403];

let mayReadFigures = true;
let mayReadHealth = true;
let before = null;

/** Ask every two seconds, while somebody sees the page. */
export function startActivity() {
  onKeyChange(() => {
    mayReadFigures = true;
    mayReadHealth = true;
  });
  const again = async () => {
    if (document.visibilityState === "visible") {
      await show();
    }
    setTimeout(again, EVERY_MS);
  };
  again();
}

async function show() {
  try {
    await showHealth();
    await showFigures();
  } catch (error) {
    showPill("unhealthy", "Not reachable");
    showText(byId("activity-hint"), wordsOf(error));
  }
}

async function showHealth() {
  if (!mayReadHealth) {
    return;
  }
  const { answer, body } = await answerOf("health");
  if (DENIED.includes(answer.status)) {
    mayReadHealth = false;
    mayReadFigures = false;
    showPill("degraded", "Needs a key");
    showText(byId("activity-hint"), "Who has a key sees what the service does.");
    byId("facts").hidden = true;
    return;
  }
  const health = answer.headers.get("content-type")?.includes("json") ? JSON.parse(body) : {};
  if (health.status === undefined) {
    throw errorOf(answer.status, body, (name) => answer.headers.get(name));
  }
  showFacts(health);
}

function showFacts({ status, reason, model, device, notice }) {
  showPill(status, { healthy: "Ready", degraded: "Degraded", unhealthy: "Not ready" }[status]);
  showText(byId("notice"), notice ?? "");
  showText(byId("activity-hint"), reason ?? "");
  byId("fact-model").textContent = model;
  byId("fact-device").textContent = device ?? "does not answer";
  byId("facts").hidden = false;
}

function showPill(status, text) {
  const pill = byId("health");
  if (pill.textContent !== text) {
    pill.textContent = text; // only a change is read out
  }
  pill.dataset.status = status;
}

async function showFigures() {
  if (!mayReadFigures) {
    return;
  }
  try {
    const figures = await documentAt("stats/pipeline");
    showNow(figures, performance.now());
  } catch (error) {
    if (!DENIED.includes(error.status)) {
      throw error;
    }
    mayReadFigures = false; // an operator's key may
    hideFigures(true);
    showText(byId("activity-hint"), key() ? "An operator's key shows queue, slots and stages too." : "");
  }
}

function showNow(figures, at) {
  hideFigures(false);
  byId("fact-running").textContent = figures.pipeline.pending_responses;
  byId("fact-waiting").textContent = figures.queue.current_size;
  showSlots(figures.buffers);
  const seconds = before === null ? 0 : (at - before.at) / 1000;
  showStages(stagesNow(before?.figures ?? null, figures, seconds));
  before = { figures, at };
}

function hideFigures(hidden) {
  byId("figures").hidden = hidden;
  byId("fact-running").parentElement.hidden = hidden;
  byId("fact-waiting").parentElement.hidden = hidden;
}

function showSlots({ slots, in_use: used }) {
  byId("slots-text").textContent = `${used} of ${slots} in use`;
  byId("slots").replaceChildren(
    ...Array.from({ length: slots }, (_, index) => make("span", { className: index < used ? "used" : "" })),
  );
}

function showStages(stages) {
  byId("stages").replaceChildren(...stages.map(stageItem));
}

function stageItem({ name, replicas, calls, closed, share }) {
  const state = closed ? "left alone after failures" : `${Math.round(100 * share)}% busy`;
  const about = [`${replicas} ${replicas === 1 ? "replica" : "replicas"}`, `${calls} under way`].join(", ");
  const bar = make("div", { className: "bar", ariaHidden: "true" }, make("div"));
  bar.firstChild.style.transform = `scaleX(${share})`;
  return make(
    "li",
    { className: closed ? "closed" : "" },
    make("div", { className: "stage-head" }, make("strong", { textContent: name }), make("span", { textContent: state })),
    bar,
    make("p", { className: "hint", textContent: about }),
  );
}
