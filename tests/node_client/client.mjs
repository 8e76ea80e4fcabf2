// OpenAI's client for Node against a service: node client.mjs URL FILE. Prints one line of JSON: what each call gave.

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const create = (parameters) =>
  client.audio.transcriptions.create({ file: fs.createReadStream(path), model: "whisper-1", ...parameters });

async function streamed() {
  const events = [];
  for await (const event of await create({ stream: true, response_format: "json" })) {
    events.push(event);
  }
  return {
    types: [...new Set(events.map((event) => event.type))],
    deltas: events.filter((event) => event.type.endsWith("delta")).map((event) => event.delta).join(""),
    text: events.at(-1).text,
  };
}

async function refused(parameters) {
  try {
    await create(parameters);
  } catch (error) {
    return { status: error.status, code: error.code, param: error.param };
  }
  return null;
}

const verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
const results = {
  json: (await create({})).text,
  text: await create({ response_format: "text" }),
  srt: await create({ response_format: "srt" }),
  vtt: await create({ response_format: "vtt" }),
  verbose: { text: verbose.text, words: verbose.words.map((word) => word.word), segments: verbose.segments.length },
  streamed: await streamed(),
  chunked: (await create({ chunking_strategy: { type: "server_vad", threshold: 0.5, silence_duration_ms: 300 } })).text,
  prompted: (await create({ language: "en-US", prompt: "A letter.", temperature: 0, keywords: ["train"] })).text,
  bytes: (await create({ file: await toFile(fs.readFileSync(path), "größe.wav") })).text,
  newModel: (await create({ model: "gpt-transcribe", languages: ["en"] })).text,
  models: (await client.models.list()).data.map((model) => model.id),
  tooHot: await refused({ temperature: 3 }),
  noAudio: await refused({ file: await toFile(Buffer.from("no audio"), "a.wav") }),
};
console.log(JSON.stringify(results));
