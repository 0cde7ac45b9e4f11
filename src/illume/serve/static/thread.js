// The conversation as it is read: turns, their candidates, pictures as they come, and what can be done with each.
// It does nothing itself: what a person wants is handed to the app and to `act`.

import { button, el, icon, iconButton } from "./dom.js";
import { fit, isLarge } from "./pictures.js";
import { path, siblings } from "./tree.js";

const NAMES = { chat: "Asked", draw: "Draw", edit: "Edit" };
const TOO_LONG = "context_length_exceeded";

export class Thread {
  #busy = false; // what the feet were made for
  #nodes = new Map(); // turn -> {node, answers, foot}

  /** act: {edit, ask, mask, save, zoom} take a picture's name; `rephrase` takes a turn. */
  constructor(root, app, act) {
    Object.assign(this, { root, app, act });
  }

  /** Another conversation: nothing of the one before is kept. */
  reset() {
    this.#nodes.clear();
    this.path();
  }

  /** Show the path; turns that were shown already stay the elements they are. */
  path() {
    const turns = path(this.app.conversation);
    const held = new Map(turns.map((turn) => [turn, this.#nodes.get(turn) ?? this.#turn(turn)]));
    this.#nodes = held;
    const nodes = [...held.values()].map(({ node }) => node);
    for (const node of [...this.root.children]) if (!nodes.includes(node)) node.remove();
    nodes.forEach(
      (node, i) => this.root.children[i] !== node && this.root.insertBefore(node, this.root.children[i] ?? null),
    );
    this.#feet();
  }

  /** An answer has changed. */
  answer(turn, i) {
    const shown = this.#nodes.get(turn);
    if (!shown) return;
    if (this.#busy !== this.app.busy()) this.#feet();
    if (this.#goesOn(shown.answers[i], turn.answers[i])) return;
    const focused = shown.answers[i].contains(document.activeElement);
    const fresh = this.#answer(turn, i);
    shown.answers[i].replaceWith(fresh);
    shown.answers[i] = fresh;
    if (focused) fresh.querySelector("button, input")?.focus();
    this.#foot(turn, shown);
  }

  #turn(turn) {
    const answers = turn.answers.map((_, i) => this.#answer(turn, i));
    const foot = el("div", { class: "foot" });
    const many = answers.length > 1;
    const legend = `${answers.length} candidates: pick the one to go on with`;
    const node = el(
      "article",
      { class: `turn ${turn.kind}`, data: { turn: turn.id } },
      el(
        "div",
        { class: "said" },
        el(
          "div",
          { class: "asked" },
          el("h2", {}, NAMES[turn.kind]),
          this.#shown(turn),
          turn.text ? el("p", { class: "words" }, turn.text) : null,
        ),
        foot,
      ),
      many
        ? el("fieldset", { class: "answers many" }, el("legend", {}, legend), answers)
        : el("div", { class: "answers" }, answers),
    );
    return { node, answers, foot };
  }

  /** The pictures that a turn shows; what a mask keeps is dimmed. */
  #shown(turn) {
    if (!turn.pictures.length) return null;
    const one = (name) => {
      const image = this.app.pictures.show(el("img", { alt: "A picture that was shown" }), name);
      const mask = turn.mask && this.app.pictures.show(el("img", { class: "veil", alt: "" }), turn.mask);
      return el("span", { class: "thumb" }, image, mask);
    };
    return el("div", { class: "thumbs" }, turn.pictures.map(one));
  }

  #feet() {
    this.#busy = this.app.busy();
    for (const [turn, shown] of this.#nodes) this.#foot(turn, shown);
  }

  /** What can be done with a turn: other branches, other words, once more, going on from here. */
  #foot(turn, { foot, answers }) {
    const { app } = this;
    const busy = app.busy();
    const beside = siblings(app.conversation, turn);
    const at = beside.indexOf(turn);
    const step = (name, label, to) =>
      iconButton(name, label, () => app.switchTo(beside[to]), { disabled: busy || !beside[to] });
    const branches = beside.length > 1 && [
      step("left", "The branch before", at - 1),
      el("span", { class: "count", title: "Branches of this turn" }, `${at + 1}/${beside.length}`),
      step("right", "The branch after", at + 1),
    ];
    const focused = foot.contains(document.activeElement) ? [...foot.children].indexOf(document.activeElement) : -1;
    foot.replaceChildren(
      ...(branches || []),
      iconButton("pencil", "Say it in other words (a new branch)", () => this.act.rephrase(turn), { disabled: busy }),
      iconButton("again", "Answer again with another seed (a new branch)", () => app.again(turn), { disabled: busy }),
      iconButton("branch", "Go on from here (a new branch)", () => app.branchAt(turn), {
        disabled: busy || path(app.conversation).at(-1) === turn,
      }),
    );
    if (focused >= 0) foot.children[Math.min(focused, foot.children.length - 1)].focus();
    answers.forEach((node, i) => {
      node.classList.toggle("chosen", i === turn.chosen);
      const radio = node.querySelector("input[type=radio]");
      if (radio) Object.assign(radio, { checked: i === turn.chosen, disabled: busy });
    });
  }

  #answer(turn, i) {
    const answer = turn.answers[i];
    const { state } = answer;
    const drawing = turn.kind !== "chat";
    return el(
      "div",
      { class: `answer ${state}`, "aria-busy": state === "running" ? "true" : null },
      this.#pick(turn, i),
      state === "running" && drawing ? this.#coming(answer) : null,
      answer.text || (state === "running" && !drawing) ? el("p", { class: "words" }, answer.text) : null,
      answer.pictures.map((name) => el("figure", {}, this.#picture(turn, i, name), this.#under(turn, i, name))),
      state === "failed" ? this.#failed(turn, i) : null,
      state === "stopped"
        ? el(
            "p",
            { class: "note" },
            "Stopped. ",
            button("Try again", () => this.app.retry(turn, i)),
          )
        : null,
      answer.cut ? el("p", { class: "note" }, "Cut here: there was no room for more.") : null,
      state === "done" && !answer.pictures.length ? el("div", { class: "line" }, this.#about(turn, i)) : null,
    );
  }

  /** Among candidates: the switch that picks one. */
  #pick(turn, i) {
    if (turn.answers.length === 1) return null;
    const checked = i === turn.chosen;
    const radio = el("input", {
      type: "radio",
      name: `pick-${turn.id}`,
      checked,
      on: { change: () => this.app.choose(turn, i) },
    });
    return el(
      "label",
      { class: "pick" },
      radio,
      el("span", { class: "yes" }, "Picked"),
      el("span", { class: "no" }, "Pick"),
      ` ${i + 1}`,
    );
  }

  /** An answer that is still coming changes in place: words can be read, and pictures do not flicker. */
  #goesOn(node, answer) {
    if (
      answer.state !== "running" ||
      !node.classList.contains("running") ||
      answer.pictures.length !== node.querySelectorAll("figure").length
    )
      return false;
    const words = node.querySelector(".words");
    if (words) words.textContent = answer.text;
    const frame = node.querySelector(".coming");
    const live = this.app.live.get(answer);
    if (frame && live) showPartial(frame, live);
    return true;
  }

  /** A picture that is being drawn. */
  #coming(answer) {
    const large = isLarge(...(this.app.model?.image_size ?? [0]));
    const frame = el(
      "div",
      { class: large ? "frame coming large" : "frame coming" },
      el("div", { class: "shimmer" }),
      el("img", { alt: "The picture so far", hidden: true }),
      el("progress", { "aria-label": "Drawing" }),
    );
    const live = this.app.live.get(answer);
    if (live) showPartial(frame, live);
    return frame;
  }

  #picture(turn, i, name) {
    const words =
      turn.kind === "chat" ? "A picture in the answer" : turn.text || "The picture with its masked part painted anew";
    const image = this.app.pictures.show(el("img", { alt: words }), name);
    const many = turn.answers.length > 1;
    const press = () => (many && i !== turn.chosen ? this.app.choose(turn, i) : this.act.zoom(name, words));
    return el(
      "button",
      { type: "button", class: "frame", "aria-label": `Look at: ${words}`, on: { click: press } },
      image,
    );
  }

  /** Under a picture: what it took, and what can be done with it. */
  #under(turn, i, name) {
    const tools = el(
      "div",
      { class: "tools" },
      button([icon("pencil"), "Edit"], () => this.act.edit(name)),
      button([icon("brush"), "Mask"], () => this.act.mask(name)),
      button([icon("chat"), "Ask"], () => this.act.ask(name)),
      iconButton("save", "Save the picture", () => this.act.save(name)),
    );
    const { state, pictures } = turn.answers[i];
    return el(
      "div",
      { class: "line" },
      state === "done" && name === pictures.at(-1) ? this.#about(turn, i) : null,
      tools,
    );
  }

  #about(turn, i) {
    const { seed, seconds, usage } = turn.answers[i];
    const told = [
      `seed ${seed}`,
      seconds === null ? "" : `${seconds.toFixed(1)} s`,
      usage ? `${usage.written} ids` : "",
    ];
    const title = usage ? `${usage.read} ids read, ${usage.written} written` : "";
    return el("p", { class: "about", title }, told.filter(Boolean).join(" · "));
  }

  #failed(turn, i) {
    const { message, detail, code } = turn.answers[i].error;
    const alone = () => ((turn.settings.memory = 0), this.app.retry(turn, i));
    return el(
      "div",
      { class: "error", role: "alert" },
      el("p", {}, icon("alert"), el("span", {}, message)),
      detail ? el("p", { class: "detail" }, detail) : null,
      code === TOO_LONG && turn.kind === "chat" && turn.settings.memory !== 0
        ? button("Answer without the earlier turns", alone)
        : button("Try again", () => this.app.retry(turn, i)),
    );
  }
}

function showPartial(frame, { picture, rows, of }) {
  const image = frame.querySelector("img");
  if (image.dataset.rows === String(rows)) return;
  const url = URL.createObjectURL(picture);
  image.onload = () => {
    URL.revokeObjectURL(url);
    image.hidden = false;
    fit(image);
  };
  image.dataset.rows = rows;
  image.src = url;
  Object.assign(frame.querySelector("progress"), { max: of, value: rows });
}
