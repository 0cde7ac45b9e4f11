// Conversations as a JSON file, and back. What is read is distrusted: only what is known, of the right kind, comes in.

import { dataUrl, pictureOf } from "./api.js";
import { newId } from "./dom.js";
import { KINDS, pictureNames } from "./tree.js";

const FORMAT = "illume-conversations";
const VERSION = 1;
const STATES = ["done", "stopped", "failed"];
const MOST_TURNS = 10_000;

/** The JSON text of conversations with their pictures. */
export async function exported(conversations, pictures) {
  const named = {};
  for (const name of new Set(conversations.flatMap(pictureNames))) {
    const blob = await pictures.blob(name);
    if (blob) named[name] = await dataUrl(blob);
  }
  return JSON.stringify(
    { format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations, pictures: named },
    null,
    1,
  );
}

/** The conversations of a file under new names, with their pictures: [{conversation, pictures}]. Error says what is wrong. */
export function imported(text) {
  const data = parsed(text);
  if (data?.format !== FORMAT) throw new Error("This file holds no conversations of this page.");
  if (data.version !== VERSION)
    throw new Error(
      `This file is of version ${String(data.version).slice(0, 20)}; this page reads version ${VERSION}.`,
    );
  const { conversations, pictures } = data;
  if (!Array.isArray(conversations) || !isRecord(pictures))
    throw new Error("This file is damaged: it has no conversations or no pictures.");
  return conversations.map((conversation, number) => taken(conversation, pictures, `Conversation ${number + 1}`));
}

function taken(found, urls, where) {
  need(isRecord(found) && isRecord(found.turns), where, "is no conversation");
  const blobs = new Map();
  const names = new Map();
  const name = (old) => {
    need(typeof old === "string", where, "names a picture by something that is no name");
    if (!names.has(old)) {
      names.set(old, newId());
      if (Object.hasOwn(urls, old)) blobs.set(names.get(old), picture(urls[old], where));
    }
    return names.get(old);
  };
  const ids = Object.keys(found.turns);
  need(ids.length <= MOST_TURNS, where, `has more than ${MOST_TURNS} turns`);
  const turns = Object.fromEntries(ids.map((id) => [id, turnOf(id, found.turns[id], name, where)]));
  const conversation = {
    id: newId(),
    title: words(found.title, where).slice(0, 200),
    created: number(found.created, where),
    updated: Date.now(),
    turns,
    first: found.first === null ? null : words(found.first, where),
  };
  checkTree(conversation, where);
  return { conversation, pictures: blobs };
}

function turnOf(id, turn, name, where) {
  need(isRecord(turn) && KINDS.includes(turn.kind), where, "has a turn of an unknown kind");
  need(
    Array.isArray(turn.pictures) && Array.isArray(turn.answers) && turn.answers.length,
    where,
    "has a turn without answers",
  );
  need(Number.isInteger(turn.chosen) && turn.answers[turn.chosen], where, "has a turn that chose no answer");
  const after = turn.after;
  need(
    after === null || (isRecord(after) && typeof after.turn === "string" && Number.isInteger(after.answer)),
    where,
    "has a turn that follows nothing",
  );
  return {
    id,
    after: after && { turn: after.turn, answer: after.answer },
    kind: turn.kind,
    text: words(turn.text, where),
    pictures: turn.pictures.map(name),
    mask: turn.mask === null ? null : name(turn.mask),
    settings: settingsOf(turn.settings, where),
    answers: turn.answers.map((answer) => answerOf(answer, name, where)),
    chosen: turn.chosen,
    created: number(turn.created, where),
  };
}

function answerOf(answer, name, where) {
  need(isRecord(answer) && Array.isArray(answer.pictures), where, "has something that is no answer");
  const { usage, error, seconds, next } = answer;
  return {
    state: STATES.includes(answer.state) ? answer.state : "stopped",
    seed: number(answer.seed, where),
    text: words(answer.text, where),
    pictures: answer.pictures.map(name),
    usage: isRecord(usage) ? { read: number(usage.read, where), written: number(usage.written, where) } : null,
    seconds: seconds === null ? null : number(seconds, where),
    error: isRecord(error)
      ? { message: words(error.message, where), detail: words(error.detail, where), code: null, status: 0 }
      : null,
    cut: answer.cut === true,
    next: next === null ? null : words(next, where),
  };
}

/** Every turn hangs where it says, the shown ones too, and no path runs in a circle. */
function checkTree({ turns, first }, where) {
  const hangs = (id, after) =>
    id === null ||
    (Object.hasOwn(turns, id) &&
      (turns[id].after === null
        ? after === null
        : turns[id].after.turn === after?.turn && turns[id].after.answer === after.answer));
  need(hangs(first, null), where, "does not say where it begins");
  for (const turn of Object.values(turns)) {
    need(
      turn.after === null || turns[turn.after.turn]?.answers[turn.after.answer],
      where,
      "has a turn that follows nothing",
    );
    need(
      turn.answers.every((answer, i) => hangs(answer.next, { turn: turn.id, answer: i })),
      where,
      "has a branch that leads elsewhere",
    );
  }
  for (const turn of Object.values(turns)) {
    let steps = 0;
    for (let up = turn; up.after; up = turns[up.after.turn]) need(++steps <= MOST_TURNS, where, "runs in a circle");
  }
}

function settingsOf(settings, where) {
  need(isRecord(settings), where, "has a turn without settings");
  const plain = Object.entries(settings).filter(([, value]) => ["number", "boolean"].includes(typeof value));
  return Object.fromEntries(plain.slice(0, 20));
}

function picture(url, where) {
  try {
    return pictureOf(url);
  } catch {
    throw new Error(`${where} has a picture that cannot be read; nothing was imported.`);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This file is no JSON.");
  }
}

const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function need(holds, where, what) {
  if (!holds) throw new Error(`${where} ${what}; nothing was imported.`);
}

function words(value, where) {
  need(typeof value === "string", where, "has something else where words should be");
  return value;
}

function number(value, where) {
  need(Number.isFinite(value), where, "has something else where a number should be");
  return value;
}
