/** The microphone, as pieces of a tenth of a second. */

const WITHOUT = "The browser gives pages a microphone only on localhost or over https. Open the page so.";
const REFUSED = "The browser does not let this page use the microphone. Allow it, and start again.";
const MISSING = "The browser finds no microphone.";

/**
 * Open the microphone.
 *
 * `heard(pcm, peak)` gets 16-bit samples and the loudest of them, from 0 to 1; `lost()` is called if the microphone is
 * taken away. Returns a function that closes it. Throws an error that says what to do.
 */
export async function openMicrophone(heard, lost) {
  const stream = await streamOf();
  const context = new AudioContext();
  const close = () => {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("pcm_worklet.js", import.meta.url));
    const mono = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
    const worklet = new AudioWorkletNode(context, "pcm", mono);
    worklet.port.onmessage = ({ data }) => heard(data.pcm, data.peak);
    context.createMediaStreamSource(stream).connect(worklet);
    stream.getTracks().forEach((track) => track.addEventListener("ended", lost));
    await context.resume();
  } catch (error) {
    close();
    throw error;
  }
  return close;
}

async function streamOf() {
  if (!navigator.mediaDevices) {
    throw new Error(WITHOUT);
  }
  try {
    // What the loudspeaker plays, such as the other end of a call, is no echo: it is to be written down too.
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
  } catch (error) {
    throw new Error(error.name === "NotFoundError" ? MISSING : REFUSED, { cause: error });
  }
}
