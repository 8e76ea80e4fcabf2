// OpenAI's client for Node against a service: node client.mjs URL FILE. Prints one line of JSON: what each call gave.

import fs from "node:fs";
import net from "node:net";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

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

// What is said in the file, which is a WAV of 16 kHz with a header of 44 bytes, over a live session.
function live() {
  const { hostname, port } = new URL(url);
  // The client connects by TLS and by nothing else, and the service that is tested has no certificate.
  const createConnection = () => net.connect(Number(port), hostname);
  const session = new OpenAIRealtimeWS({ model: "whisper-1", options: { createConnection } }, client);
  const silence = Buffer.alloc(2 * 16000);
  const audio = Buffer.concat([fs.readFileSync(path).subarray(44), silence]);
  const heard = { types: [], deltas: "" };
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("event", (event) => heard.types.push(event.type));
    session.on("session.created", () => {
      const input = { format: { type: "audio/pcm", rate: 16000 }, turn_detection: { type: "server_vad" } };
      session.send({ type: "session.update", session: { type: "transcription", audio: { input } } });
      for (let start = 0; start < audio.length; start += 3200) {
        const piece = audio.subarray(start, start + 3200).toString("base64");
        session.send({ type: "input_audio_buffer.append", audio: piece });
      }
    });
    session.on("conversation.item.input_audio_transcription.delta", (event) => (heard.deltas += event.delta));
    session.on("conversation.item.input_audio_transcription.completed", (event) => {
      session.close();
      resolve({ ...heard, types: [...new Set(heard.types)], text: event.transcript });
    });
  });
}

const verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
const results = {
  json: (await create({})).text,
  text: await create({ response_format: "text" }),
  srt: await create({ response_format: "srt" }),
  vtt: await create({ response_format: "vtt" }),
  verbose: { text: verbose.text, words: verbose.words.map((word) => word.word), segments: verbose.segments.length },
  streamed: await streamed(),
  live: await live(),
  chunked: (await create({ chunking_strategy: { type: "server_vad", threshold: 0.5, silence_duration_ms: 300 } })).text,
  prompted: (await create({ language: "en-US", prompt: "A letter.", temperature: 0, keywords: ["train"] })).text,
  bytes: (await create({ file: await toFile(fs.readFileSync(path), "größe.wav") })).text,
  newModel: (await create({ model: "gpt-transcribe", languages: ["en"] })).text,
  models: (await client.models.list()).data.map((model) => model.id),
  tooHot: await refused({ temperature: 3 }),
  noAudio: await refused({ file: await toFile(Buffer.from("no audio"), "a.wav") }),
};
console.log(JSON.stringify(results));
