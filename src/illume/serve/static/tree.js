// A conversation as a tree of turns: what is said next, taken back, branched, chosen. Nothing is lost but by deletion.
// It knows neither the page nor the server.
//
// A turn follows one answer of the turn before it, or nothing. `first` and each answer's `next` name the turn that is
// shown after it: together they are the path that a person sees, and what the next turn continues.

import { newId } from "./dom.js";

export const KINDS = ["chat", "draw", "edit"];

export function newConversation() {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, turns: {}, first: null };
}

/** A turn as it is asked. `seeds`: one a candidate answer. */
export function newTurn(kind, { text, pictures = [], mask = null, settings = {} }, seeds) {
  const answers = seeds.map((seed) => newAnswer(seed));
  return { id: newId(), after: null, kind, text, pictures, mask, settings, answers, chosen: 0, created: Date.now() };
}

/** state: "running", "done", "stopped" or "failed". */
export function newAnswer(seed) {
  return {
    state: "running",
    seed,
    text: "",
    pictures: [],
    usage: null,
    seconds: null,
    error: null,
    cut: false,
    next: null,
  };
}

/** The turns that are shown, first to last. */
export function path(conversation) {
  const shown = [];
  for (let id = conversation.first; id !== null;) {
    const turn = conversation.turns[id];
    shown.push(turn);
    id = turn.answers[turn.chosen].next;
  }
  return shown;
}

export const last = (conversation) => path(conversation).at(-1) ?? null;

export const chosenAnswer = (turn) => turn.answers[turn.chosen];

/** Where a turn that is said now would follow: the last turn's chosen answer, or null at the beginning. */
export function end(conversation) {
  const turn = last(conversation);
  return turn && { turn: turn.id, answer: turn.chosen };
}

const same = (one, other) =>
  one === null || other === null ? one === other : one.turn === other.turn && one.answer === other.answer;

/** The turns that follow a place, oldest first. */
export function following(conversation, place) {
  return Object.values(conversation.turns).filter((turn) => same(turn.after, place));
}

/** The turns that stand where this one stands: its branches and itself. */
export const siblings = (conversation, turn) => following(conversation, turn.after);

function show(conversation, place, id) {
  if (place === null) conversation.first = id;
  else conversation.turns[place.turn].answers[place.answer].next = id;
}

/** Say a turn at the end of the path. */
export function add(conversation, turn) {
  turn.after = end(conversation);
  conversation.turns[turn.id] = turn;
  show(conversation, turn.after, turn.id);
}

/** Go to another branch. */
export const switchTo = (conversation, turn) => show(conversation, turn.after, turn.id);

/** Go back to before a turn; what was said stays as a branch. */
export const backTo = (conversation, turn) => show(conversation, turn.after, null);

/** Go on from a turn: what followed it stays as a branch. */
export const goOnFrom = (conversation, turn) => show(conversation, { turn: turn.id, answer: turn.chosen }, null);

/** Take the last turn back; null where there is none. */
export function undo(conversation) {
  const turn = last(conversation);
  if (turn) backTo(conversation, turn);
  return turn;
}

/** What taking back can be undone to: the youngest turn that followed the end of the path. */
export const undone = (conversation) => following(conversation, end(conversation)).at(-1) ?? null;

export function redo(conversation) {
  const turn = undone(conversation);
  if (turn) switchTo(conversation, turn);
  return turn;
}

/** The newest picture on the path, by name; null where there is none. */
export function newestPicture(conversation) {
  for (const turn of path(conversation).reverse()) {
    const name = chosenAnswer(turn).pictures.at(-1) ?? (turn.kind === "chat" ? turn.pictures.at(-1) : null);
    if (name) return name;
  }
  return null;
}

/** The names of all pictures of a conversation, on every branch. */
export function pictureNames(conversation) {
  const names = Object.values(conversation.turns).flatMap((turn) => [
    ...turn.pictures,
    ...(turn.mask ? [turn.mask] : []),
    ...turn.answers.flatMap((answer) => answer.pictures),
  ]);
  return [...new Set(names)];
}

/** What a conversation is called until a person names it. */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const opening = Object.values(conversation.turns)[0];
  if (!opening) return "New conversation";
  return opening.text.trim().replace(/\s+/g, " ").slice(0, 60) || "A picture";
}
