// Where a turn is written: its words, kind, pictures, mask and settings. It knows what may be said, not how it is answered.

import { $, button, el, iconButton } from "./dom.js";
import { pictureFromFile } from "./pictures.js";
import { applies, FIELDS, keepSettings, readSettings, standard, summary, valueOf } from "./settings.js";
import { last, newestPicture } from "./tree.js";

const HINTS = { chat: "Ask or say something", draw: "Describe a picture", edit: "Say what to change" };
const SLASH = /^\/(draw|edit|ask|chat)\s/;
const COMMANDS = /^\/(undo|redo|new|help)\s*$/;

export class Composer {
  kind = "draw";
  mask = null;
  #pictures = []; // names, chosen by hand
  #showing = ""; // what the list of pictures was made of
  #dismissed = null; // the newest picture, if it was taken out of the message

  /** act: {say, stop, mask, notice, undo, redo, new, help}. */
  constructor(form, app, act) {
    Object.assign(this, { form, app, act, settings: readSettings() });
    this.words = $("#words", form);
    this.#wire();
    this.#showSettings();
    this.setKind("draw");
  }

  /** Another conversation. */
  reset() {
    this.#pictures = [];
    this.setKind(last(this.app.conversation)?.kind ?? "draw");
  }

  setKind(kind) {
    this.kind = kind;
    for (const radio of this.form.elements.kind) radio.checked = radio.value === kind;
    this.mask = null;
    this.#dismissed = null;
    this.show();
  }

  /** Put pictures into the message: in place of what is there, if an edit can take only one. */
  take(names, kind, mask = null) {
    this.#pictures = kind === "edit" ? names.slice(-1) : names;
    if (kind !== this.kind) this.setKind(kind);
    this.mask = mask;
    this.show();
    this.words.focus();
  }

  /** Write a turn once more, to be changed. */
  fill(turn) {
    this.setKind(turn.kind);
    this.#pictures = [...turn.pictures];
    if (!turn.pictures.length) this.#dismissed = newestPicture(this.app.conversation);
    this.mask = turn.mask;
    this.words.value = turn.text;
    this.show();
    this.words.focus();
  }

  /** The names of the pictures that the message shows: those chosen, or the newest of the conversation. */
  shown() {
    if (this.kind === "draw") return [];
    if (this.#pictures.length) return this.kind === "edit" ? this.#pictures.slice(-1) : this.#pictures;
    const newest = newestPicture(this.app.conversation);
    return newest && newest !== this.#dismissed ? [newest] : [];
  }

  show() {
    const busy = this.app.busy();
    this.words.placeholder = this.kind === "edit" && this.mask ? "Say what to paint there" : HINTS[this.kind];
    this.#grow();
    const send = $("#send", this.form);
    send.classList.toggle("stop", busy);
    send.setAttribute("aria-label", busy ? "Stop" : "Send");
    send.title = busy ? "Stop (Esc)" : "Send (Enter)";
    this.#showPictures();
    const told = summary(this.settings, this.kind);
    $("#summary", this.form).textContent = told;
    $("#tune", this.form).classList.toggle("set", told !== "");
    for (const row of this.form.querySelectorAll("[data-field]")) {
      const field = FIELDS.find(({ name }) => name === row.dataset.field);
      row.hidden = field ? !applies(field, this.kind, this.settings.draws) : this.kind !== "chat";
    }
  }

  #showPictures() {
    const shown = this.shown();
    const now = JSON.stringify([shown, this.#pictures, this.mask, this.kind]);
    if (now === this.#showing) return;
    this.#showing = now;
    $("#attached", this.form).replaceChildren(...shown.map((name) => this.#chip(name)));
  }

  #chip(name) {
    const byHand = this.#pictures.includes(name);
    const image = this.app.pictures.show(
      el("img", { alt: byHand ? "A picture of this message" : "The newest picture" }),
      name,
    );
    const veil = this.mask && this.app.pictures.show(el("img", { class: "veil", alt: "" }), this.mask);
    const drop = () => {
      if (byHand) this.#pictures = this.#pictures.filter((one) => one !== name);
      this.#dismissed = newestPicture(this.app.conversation);
      this.mask = null;
      this.show();
      this.words.focus();
    };
    const masks = this.kind === "edit" && button(this.mask ? "Change the mask" : "Mask", () => this.act.mask(name));
    return el(
      "li",
      {},
      el("span", { class: "thumb" }, image, veil),
      masks,
      iconButton("close", "Leave this picture out", drop),
    );
  }

  async addFiles(files) {
    const names = [];
    for (const file of files) {
      try {
        names.push(this.app.pictures.add(await pictureFromFile(file)));
      } catch (error) {
        this.act.notice(error.message);
      }
    }
    if (names.length) this.take([...this.#pictures, ...names], this.kind === "draw" ? "edit" : this.kind);
  }

  #wire() {
    const { form, words } = this;
    form.addEventListener("submit", (event) => (event.preventDefault(), this.#send()));
    form.addEventListener("change", ({ target }) => target.name === "kind" && this.setKind(target.value));
    words.addEventListener("input", () => this.#typed());
    words.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.app.busy()) this.#send();
    });
    const file = $("#file", form);
    $("#attach", form).addEventListener("click", () => file.click());
    file.addEventListener("change", () => (this.addFiles([...file.files]), (file.value = "")));
    $("#tune", form).addEventListener("click", () => this.toggleSettings());
  }

  #typed() {
    const found = SLASH.exec(this.words.value);
    if (found) {
      this.words.value = this.words.value.slice(found[0].length);
      this.setKind(found[1] === "ask" ? "chat" : found[1]);
    }
    this.#grow();
  }

  #grow() {
    this.words.style.height = "auto";
    this.words.style.height = `${Math.min(this.words.scrollHeight, 220)}px`;
  }

  #send() {
    if (this.app.busy()) return this.act.stop();
    const text = this.words.value.trim();
    const command = COMMANDS.exec(text);
    if (command) {
      this.words.value = "";
      return this.act[command[1]]();
    }
    const pictures = this.shown();
    const wrong = this.#wrong(text, pictures);
    if (wrong) return this.act.notice(wrong);
    const { kind, mask } = this;
    this.words.value = "";
    this.#pictures = [];
    this.mask = null;
    this.act.say({ kind, text, pictures, mask }, this.settings);
    if (!matchMedia("(pointer: coarse)").matches) this.words.focus();
  }

  #wrong(text, pictures) {
    if (this.form.querySelector("[data-field] [aria-invalid=true]"))
      return "One of the settings has a value that it may not have.";
    if (this.kind === "edit" && !pictures.length)
      return "Add the picture to change: draw one, or attach, paste or drop it.";
    if (text) return null;
    return {
      chat: "Say or ask something first.",
      draw: "Describe the picture first.",
      edit: "Say what to change first.",
    }[this.kind];
  }

  // Settings

  toggleSettings() {
    const panel = $("#settings", this.form);
    panel.hidden = !panel.hidden;
    $("#tune", this.form).setAttribute("aria-expanded", String(!panel.hidden));
    (panel.hidden ? $("#tune", this.form) : $("input:not([hidden])", panel)).focus();
  }

  #showSettings() {
    const draws = el("input", { type: "checkbox", id: "set-draws", checked: this.settings.draws });
    draws.addEventListener("change", () => this.#set("draws", draws.checked));
    $("#fields", this.form).replaceChildren(
      ...FIELDS.map((field) => this.#field(field)),
      el(
        "label",
        {
          class: "switch",
          data: { field: "draws" },
          title: "Answers may hold pictures, where the model wants to draw.",
        },
        draws,
        "May draw",
      ),
      button("Reset", () => this.#reset(), { id: "reset" }),
    );
  }

  #reset() {
    this.settings = standard();
    keepSettings(this.settings);
    this.#showSettings();
    this.show();
    $("#set-n", this.form).focus();
  }

  #field(field) {
    const { name, label, hint, min, max, step, about } = field;
    const input = el("input", {
      type: "number",
      id: `set-${name}`,
      min,
      max,
      step: "any",
      inputmode: "decimal",
      placeholder: hint,
      value: this.settings[name] ?? "",
      "aria-describedby": `wrong-${name}`,
      data: { step },
    });
    const wrong = el("span", { class: "wrong", id: `wrong-${name}` });
    input.addEventListener("input", () => {
      try {
        this.#set(name, valueOf(field, input.validity.badInput ? "?" : input.value));
        wrong.textContent = "";
        input.removeAttribute("aria-invalid");
      } catch (error) {
        wrong.textContent = error.message;
        input.setAttribute("aria-invalid", "true");
      }
    });
    return el("label", { class: "field", data: { field: name }, title: about }, el("span", {}, label), input, wrong);
  }

  #set(name, value) {
    this.settings[name] = value;
    keepSettings(this.settings);
    this.show();
  }
}
