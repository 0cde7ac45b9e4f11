// How answers are sampled: what a person set, what is left to the model, and what a request says of it.

import { keep, kept, randomSeed } from "./dom.js";

const KEY = "illume.settings";
const SHORT_MEMORY = 1024; // a model of fewer positions was trained on single turns

/** name, what it is called, the values it may have, and for which kinds of turn. `whole`: an integer. */
export const FIELDS = [
  {
    name: "n",
    label: "Candidates",
    hint: "1",
    min: 1,
    max: 8,
    step: 1,
    whole: true,
    about: "So many answers side by side; you pick the one to go on with.",
  },
  {
    name: "seed",
    label: "Seed",
    hint: "random",
    min: 0,
    max: 2 ** 31 - 1,
    step: 1,
    whole: true,
    about: "The same words, settings and seed give the same answer. Candidates count up from it.",
  },
  {
    name: "guidance",
    label: "Guidance",
    hint: "model’s own",
    min: 0,
    max: 30,
    step: 0.1,
    kinds: ["draw", "edit"],
    about: "How closely a picture keeps to the words. 1 is none.",
  },
  {
    name: "temperature",
    label: "Temperature",
    hint: "model’s own",
    min: 0,
    max: 2,
    step: 0.05,
    about: "0 takes the likeliest; more is freer.",
  },
  {
    name: "top_k",
    label: "Top-k",
    hint: "model’s own",
    min: 0,
    max: 100_000,
    step: 1,
    whole: true,
    about: "Choose among the k likeliest only. 0 is off.",
  },
  {
    name: "top_p",
    label: "Top-p",
    hint: "model’s own",
    min: 0.01,
    max: 1,
    step: 0.01,
    about: "Choose among the likeliest that make up this share. 1 is off.",
  },
  {
    name: "memory",
    label: "Memory",
    hint: "auto",
    min: 0,
    max: 1000,
    step: 1,
    whole: true,
    kinds: ["chat"],
    about: "How many earlier turns an answer sees. Empty: all, or none for a model of short memory.",
  },
];

/** A field's value as typed: null where it is empty; an error that says what it may be. */
export function valueOf(field, typed) {
  if (String(typed).trim() === "") return null;
  const value = Number(typed);
  const fits =
    Number.isFinite(value) && value >= field.min && value <= field.max && (!field.whole || Number.isInteger(value));
  if (!fits)
    throw new Error(`${field.label}: a ${field.whole ? "whole number" : "number"} from ${field.min} to ${field.max}.`);
  return value;
}

export const standard = () => ({ ...Object.fromEntries(FIELDS.map((field) => [field.name, null])), draws: false });

/** What was set the last time, as far as it is still something that may be set. */
export function readSettings() {
  const settings = standard();
  const found = kept(KEY) ?? {};
  for (const field of FIELDS) {
    try {
      settings[field.name] = valueOf(field, found[field.name] ?? "");
    } catch {
      // written by hand, or by another version
    }
  }
  settings.draws = found.draws === true;
  return settings;
}

export const keepSettings = (settings) => keep(KEY, settings);

export const applies = (field, kind, draws) =>
  !field.kinds || field.kinds.includes(kind) || (field.name === "guidance" && draws);

/** The settings that differ from the model's own, in a few words. */
export function summary(settings, kind) {
  const set = FIELDS.filter(
    (field) =>
      settings[field.name] !== null &&
      applies(field, kind, settings.draws) &&
      !(field.name === "n" && settings.n === 1),
  );
  return set.map((field) => `${field.label.toLowerCase()} ${settings[field.name]}`).join(" · ");
}

/** One seed a candidate, counting up from the given one or a random one. */
export function seedsOf(settings) {
  const first = settings.seed ?? randomSeed();
  return Array.from({ length: settings.n ?? 1 }, (_, i) => first + i);
}

/** The settings of a turn that its conversation keeps. */
export function settingsOfTurn(settings, kind) {
  const used = FIELDS.filter(
    (field) =>
      !["n", "seed"].includes(field.name) && settings[field.name] !== null && applies(field, kind, settings.draws),
  );
  return {
    ...Object.fromEntries(used.map((field) => [field.name, settings[field.name]])),
    ...(kind === "chat" && settings.draws ? { draws: true } : {}),
  };
}

/** The same in the names of the API. */
export function sampling({ guidance, temperature, top_k, top_p }) {
  const fields = { guidance_scale: guidance, temperature, top_k, top_p };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** How many earlier turns an answer of this model sees. */
export const memoryOf = (settings, model) => settings.memory ?? (model?.context_length < SHORT_MEMORY ? 0 : Infinity);
