/** Server-sent events, as `stream=true` sends them. */

const DATA = "data: ";
const END = "[DONE]";

/** Takes the text of a stream in any pieces. */
export class EventReader {
  #rest = "";

  /** Return the events that are complete with this piece. Comments and the end mark are none. */
  read(piece) {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop();
    return blocks
      .filter((block) => block.startsWith(DATA))
      .map((block) => block.slice(DATA.length))
      .filter((data) => data !== END)
      .map((data) => JSON.parse(data));
  }
}
