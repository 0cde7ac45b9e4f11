// What a person does, done: say a turn, stop it, take it back, branch, choose, rename, delete. It joins the tree of a
// conversation, the store and the server, and tells `views` what has changed. It touches no element of the page.

import { ApiError, dataUrl } from "./api.js";
import { memoryOf, sampling, seedsOf, settingsOfTurn } from "./settings.js";
import * as tree from "./tree.js";

const SAID = { draw: "Generate an image of ", edit: "Edit the image: " }; // what such a turn says in a conversation

export class App {
  all = new Map(); // conversations by id
  model = null;
  live = new WeakMap(); // answer -> {picture, rows, of}: drawn so far; it is not kept
  #running = new Map(); // answer -> {controller, conversation}

  constructor({ api, store, pictures, views }) {
    Object.assign(this, { api, store, pictures, views });
    this.conversation = tree.newConversation();
    this.#others = "BroadcastChannel" in window ? new BroadcastChannel("illume") : null;
    if (this.#others) this.#others.onmessage = ({ data }) => this.#changedElsewhere(data);
  }

  #others;

  /** Read what the browser keeps. An answer that was coming when the page was closed is one that was stopped. */
  async load() {
    for (const conversation of await this.store.conversations()) this.all.set(conversation.id, settled(conversation));
    this.views.list();
  }

  /** Youngest first. */
  list() {
    return [...this.all.values()].sort((one, other) => other.updated - one.updated);
  }

  open(id) {
    this.conversation = this.all.get(id) ?? tree.newConversation();
    this.pictures.forget();
    this.views.conversation();
  }

  fresh() {
    this.open(null);
  }

  // Saying

  /** Say a turn: {kind, text, pictures, mask}, to be answered as the settings say. */
  async say(asked, settings) {
    const turn = tree.newTurn(
      asked.kind,
      { ...asked, settings: settingsOfTurn(settings, asked.kind) },
      seedsOf(settings),
    );
    await this.#begin(turn);
  }

  /** The same turn with other seeds, beside the first. */
  async again(turn) {
    tree.backTo(this.conversation, turn);
    const n = turn.answers.length;
    await this.#begin(tree.newTurn(turn.kind, structuredClone(turn), seedsOf({ n, seed: null })));
  }

  async #begin(turn) {
    const { conversation } = this;
    tree.add(conversation, turn);
    this.all.set(conversation.id, conversation);
    this.views.path();
    await this.#save(conversation);
    this.views.announce(turn.kind === "chat" ? "Answering" : "Drawing");
    await Promise.all(turn.answers.map((_, i) => this.#run(conversation, turn, i)));
  }

  /** Ask once more for an answer that failed or was stopped, with the same seed. */
  async retry(turn, i) {
    Object.assign(turn.answers[i], { ...tree.newAnswer(turn.answers[i].seed), next: turn.answers[i].next });
    await this.#run(this.conversation, turn, i);
  }

  /** After a key was given: ask again for what was refused for want of one. */
  retryRefused() {
    const turn = tree.last(this.conversation);
    turn?.answers.forEach((answer, i) => answer.error?.status === 401 && this.retry(turn, i));
  }

  busy(conversation = this.conversation) {
    return [...this.#running.values()].some((one) => one.conversation === conversation);
  }

  /** Stop what is being answered: closes the requests, so that the server stops too. */
  stop(conversation = this.conversation) {
    const mine = [...this.#running.values()].filter((one) => one.conversation === conversation);
    mine.forEach(({ controller }) => controller.abort());
    return mine.length > 0;
  }

  async #run(conversation, turn, i) {
    const answer = turn.answers[i];
    const controller = new AbortController();
    this.#running.set(answer, { controller, conversation });
    this.views.answer(conversation, turn, i);
    const began = performance.now();
    try {
      Object.assign(
        answer,
        await this.#answered(
          conversation,
          turn,
          answer,
          () => this.views.answer(conversation, turn, i),
          controller.signal,
        ),
      );
      answer.state = "done";
    } catch (error) {
      if (error.name === "AbortError") answer.state = "stopped";
      else Object.assign(answer, { state: "failed", error: told(error) });
      if (error.status === 401) this.views.askKey(this.api.key !== null);
    }
    answer.seconds = (performance.now() - began) / 1000;
    this.#running.delete(answer);
    this.live.delete(answer);
    this.views.answer(conversation, turn, i);
    this.views.announce(
      { done: "Answered", stopped: "Stopped", failed: `Failed: ${answer.error?.message}` }[answer.state],
    );
    if (this.all.has(conversation.id)) await this.#save(conversation);
  }

  async #answered(conversation, turn, answer, changed, signal) {
    const fields = { model: this.model?.id, seed: answer.seed, ...sampling(turn.settings) };
    if (turn.kind === "chat") {
      const on = {
        text: (text) => ((answer.text = text), changed()),
        picture: (blob) => (answer.pictures.push(this.pictures.add(blob)), changed()),
      };
      const messages = await this.#messages(conversation, turn);
      return this.api.chat(
        { ...fields, messages, modalities: turn.settings.draws ? ["text", "image"] : ["text"] },
        on,
        signal,
      );
    }
    const on = { partial: (partial) => (this.live.set(answer, partial), changed()) };
    const { picture, usage } = await (turn.kind === "draw"
      ? this.api.draw({ ...fields, prompt: turn.text }, on, signal)
      : this.api.edit({ ...fields, prompt: turn.text, ...(await this.#shown(turn)) }, on, signal));
    return { pictures: [this.pictures.add(picture)], usage };
  }

  async #shown(turn) {
    const image = await this.#bytes(turn.pictures[0]);
    return turn.mask ? { image, mask: await this.#bytes(turn.mask) } : { image };
  }

  async #bytes(name) {
    const blob = await this.pictures.blob(name);
    if (!blob) throw new Error("A picture of this turn is no longer kept in this browser.");
    return blob;
  }

  /** The conversation up to a turn, as far back as an answer sees it, in the words of the API. */
  async #messages(conversation, turn) {
    const before = [];
    for (let { after } = turn; after; after = before[0].turn.after) {
      const earlier = conversation.turns[after.turn];
      before.unshift({ turn: earlier, answer: earlier.answers[after.answer] });
    }
    const memory = memoryOf(turn.settings, this.model);
    const seen = before
      .slice(Math.max(0, before.length - memory))
      .filter(({ answer }) => answer.text || answer.pictures.length);
    const messages = [];
    for (const { turn: earlier, answer } of seen) {
      messages.push(await this.#asked(earlier));
      const images = await Promise.all(answer.pictures.map((name) => this.#part(name)));
      messages.push({ role: "assistant", content: answer.text || null, ...(images.length ? { images } : {}) });
    }
    return [...messages, await this.#asked(turn)];
  }

  async #asked(turn) {
    const images = await Promise.all(turn.pictures.map((name) => this.#part(name)));
    const text = (SAID[turn.kind] ?? "") + turn.text;
    return { role: "user", content: images.length ? [...images, ...(text ? [{ type: "text", text }] : [])] : text };
  }

  async #part(name) {
    return { type: "image_url", image_url: { url: await dataUrl(await this.#bytes(name)) } };
  }

  // The tree

  undo() {
    return !this.busy() && this.#moved(tree.undo(this.conversation));
  }

  redo() {
    return !this.busy() && this.#moved(tree.redo(this.conversation));
  }

  branchAt(turn) {
    tree.goOnFrom(this.conversation, turn);
    return this.#moved(turn);
  }

  backTo(turn) {
    tree.backTo(this.conversation, turn);
    return this.#moved(turn);
  }

  switchTo(turn) {
    tree.switchTo(this.conversation, turn);
    return this.#moved(turn);
  }

  choose(turn, i) {
    turn.chosen = i;
    return this.#moved(turn);
  }

  #moved(turn) {
    if (!turn) return false;
    this.views.path();
    this.#save(this.conversation);
    return true;
  }

  // Conversations

  async rename(conversation, title) {
    conversation.title = title.trim().slice(0, 200);
    await this.#save(conversation);
  }

  /** Delete a conversation with its pictures; the answer is what brings it back. */
  async remove(conversation) {
    this.stop(conversation);
    const names = tree.pictureNames(conversation);
    const blobs = new Map(await Promise.all(names.map(async (name) => [name, await this.pictures.blob(name)])));
    this.all.delete(conversation.id);
    if (this.conversation === conversation) this.fresh();
    await this.store.remove(conversation.id, names);
    this.#changed(conversation);
    return async () => {
      await this.take(conversation, new Map([...blobs].filter(([, blob]) => blob)));
      this.open(conversation.id);
    };
  }

  /** Take a conversation in, with its pictures. */
  async take(conversation, pictures) {
    await this.store.save(conversation, pictures);
    this.all.set(conversation.id, conversation);
    this.#changed(conversation);
  }

  async #save(conversation) {
    conversation.updated = Date.now();
    const unsaved = this.pictures.unsaved(tree.pictureNames(conversation));
    try {
      await this.store.save(conversation, unsaved);
      this.pictures.saved(unsaved.keys());
    } catch (error) {
      const full = error?.name === "QuotaExceededError";
      this.views.notice(
        full
          ? "The browser has no more room for this history: export or delete conversations."
          : `This could not be kept: ${error.message}`,
      );
    }
    this.#changed(conversation);
  }

  #changed(conversation) {
    this.views.list();
    this.#others?.postMessage(conversation.id);
  }

  /** Another tab has written a conversation: read it, unless it is being answered here. */
  async #changedElsewhere(id) {
    const here = this.all.get(id);
    if (here && this.busy(here)) return;
    const found = await this.store.conversation(id);
    if (found) this.all.set(id, settled(found));
    else this.all.delete(id);
    this.views.list();
    if (here && this.conversation === here) this.open(id);
  }
}

function settled(conversation) {
  for (const turn of Object.values(conversation.turns)) {
    for (const answer of turn.answers) if (answer.state === "running") answer.state = "stopped";
  }
  return conversation;
}

/** An error as a conversation keeps it. */
function told(error) {
  if (!(error instanceof ApiError))
    return { message: error.message || "Something went wrong in this page.", detail: "", code: null, status: 0 };
  const wait = error.retryAfter ? `Try again in ${Math.ceil(error.retryAfter)} s.` : "";
  const detail = [
    error.status ? `HTTP ${error.status}` : "",
    error.code ?? "",
    error.request ? `request ${error.request}` : "",
  ];
  const message = error.message[0].toUpperCase() + error.message.slice(1);
  return {
    message: wait ? `${message.replace(/[.\s]+$/, "")}. ${wait}` : message,
    detail: detail.filter(Boolean).join(" · "),
    code: error.code,
    status: error.status,
  };
}
