// The server's HTTP API, as OpenAI's clients know it. It knows neither the page nor conversations.
//
// Every call takes an AbortSignal: aborting closes the connection, which tells the server to stop.

const PARTIALS = "rows"; // a partial picture after every row; what other servers know is a number, 3 at most

/** What a server answered instead of an answer. `status` 0: it could not be reached, or the connection broke. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, request = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, request, retryAfter });
  }
}

export class Api {
  constructor(base = new URL("v1/", document.baseURI)) {
    this.base = base;
    this.key = null;
  }

  /** The models that are served. */
  async models(signal) {
    const response = await this.#ask("models", { signal });
    const body = await response.json().catch(() => null);
    if (!Array.isArray(body?.data))
      throw new ApiError("The server's list of models cannot be read.", { status: response.status });
    return body.data;
  }

  /** Draw a picture: `on.partial({picture, rows, of})` as it comes, then `{picture, usage}`. */
  draw(fields, on, signal) {
    const body = { ...fields, n: 1, stream: true, partial_images: PARTIALS, output_format: "png" };
    return this.#picture(
      "images/generations",
      JSON.stringify(body),
      { "Content-Type": "application/json" },
      on,
      signal,
    );
  }

  /** Change a picture, or what a mask leaves open of it (transparent there). */
  edit({ image, mask, ...fields }, on, signal) {
    const form = new FormData();
    form.append("image", image, "image.png");
    if (mask) form.append("mask", mask, "mask.png");
    const all = { ...fields, n: 1, stream: true, partial_images: PARTIALS, output_format: "png" };
    for (const [name, value] of Object.entries(all)) form.append(name, String(value));
    return this.#picture("images/edits", form, {}, on, signal);
  }

  /** Answer a conversation: `on.text(all so far)`, `on.picture(blob)`, then `{usage, cut}`. */
  async chat(fields, on, signal) {
    const body = JSON.stringify({ ...fields, stream: true, stream_options: { include_usage: true } });
    const answer = { usage: null, cut: false, finished: false };
    let text = "";
    for await (const event of this.#events("chat/completions", body, { "Content-Type": "application/json" }, signal)) {
      if (event.usage) answer.usage = chatUsage(event.usage);
      const choice = event.choices?.[0];
      if (!choice) continue;
      if (typeof choice.delta?.content === "string" && choice.delta.content) on.text((text += choice.delta.content));
      for (const image of choice.delta?.images ?? []) on.picture(pictureOf(image.image_url?.url));
      if (choice.finish_reason) answer.finished = true;
      if (choice.finish_reason === "length") answer.cut = true;
    }
    if (!answer.finished) throw new ApiError("The connection ended before the answer did.");
    return answer;
  }

  async #picture(path, body, headers, on, signal) {
    for await (const event of this.#events(path, body, headers, signal)) {
      if (event.type?.endsWith(".partial_image")) {
        const { rows = event.partial_image_index + 1, of = rows + 1 } = event;
        on.partial({ picture: fromBase64(event.b64_json), rows, of });
      }
      if (event.type?.endsWith(".completed"))
        return { picture: fromBase64(event.b64_json), usage: imageUsage(event.usage) };
    }
    throw new ApiError("The connection ended before the picture was finished.");
  }

  async *#events(path, body, headers, signal) {
    const response = await this.#ask(path, { method: "POST", body, headers, signal });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new ApiError("The server did not answer with a stream of events.", { status: response.status });
    }
    const request = response.headers.get("X-Request-Id");
    for await (const event of readEvents(response.body)) {
      if (event.error) throw said(event.error, { status: 0, request });
      yield event;
    }
  }

  async #ask(path, options) {
    const headers = { ...options.headers, ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) };
    let response;
    try {
      response = await fetch(new URL(path, this.base), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server can't be reached. Is it still running?");
    }
    if (response.ok) return response;
    const answered = await response.json().catch(() => null);
    const seconds = Number.parseFloat(response.headers.get("Retry-After"));
    throw said(answered?.error ?? answered?.detail, {
      status: response.status,
      request: response.headers.get("X-Request-Id"),
      retryAfter: Number.isFinite(seconds) ? seconds : null,
    });
  }
}

const MEANINGS = {
  401: "This server wants an API key.",
  404: "The server does not know this request. Is the page of another version?",
  413: "This is more than the server takes at once. Try a smaller picture, or fewer.",
  429: "The server has too much to do right now.",
  500: "Something went wrong in the server.",
  503: "The server is not ready: it is starting or stopping.",
};

function said(error, about) {
  const message = typeof error === "string" ? error : error?.message;
  const words =
    typeof message === "string" && message
      ? message
      : (MEANINGS[about.status] ?? `The server refused this (HTTP ${about.status}).`);
  return new ApiError(words, { ...about, code: error?.code ?? error?.type ?? null });
}

/** The JSON of server-sent events, as they come. A stream that breaks off is an ApiError. */
async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reader.read().catch((error) => {
        if (error?.name === "AbortError") throw error;
        throw new ApiError("The connection broke while the answer was coming.");
      });
      if (done) return;
      const blocks = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart())
          .join("\n");
        if (data === "[DONE]") return;
        if (data) yield parsed(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ApiError("The server sent something that is no event.");
  }
}

/** A picture as bytes; PNG unless its first bytes say otherwise. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text ?? ""), (letter) => letter.charCodeAt(0));
  const type = bytes[0] === 0xff ? "image/jpeg" : bytes[0] === 0x52 ? "image/webp" : "image/png";
  return new Blob([bytes], { type });
}

const DATA_URL = /^data:image\/(?:png|jpeg|webp);base64,([A-Za-z0-9+/]+=*)$/;

/** The picture of a data: URL; an error for any other, for the page asks nobody else for pictures. */
export function pictureOf(url) {
  const found = DATA_URL.exec(url ?? "");
  if (!found) throw new ApiError("A picture came in a form that this page does not show.");
  return fromBase64(found[1]);
}

/** A picture as a data: URL. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

const imageUsage = (usage) => (usage ? { read: usage.input_tokens ?? 0, written: usage.output_tokens ?? 0 } : null);
const chatUsage = (usage) => ({ read: usage.prompt_tokens ?? 0, written: usage.completion_tokens ?? 0 });
