// The conversations that this browser keeps: open, rename, delete, export, import.

import { $, el, iconButton } from "./dom.js";
import { exported, imported } from "./transfer.js";
import { titleOf } from "./tree.js";

export class Sidebar {
  #renaming = null;

  /** act: {open, fresh, notice}. */
  constructor(root, app, act) {
    Object.assign(this, { root, app, act });
    const file = $("#import-file", root);
    $("#new", root).addEventListener("click", () => act.fresh());
    $("#import", root).addEventListener("click", () => file.click());
    file.addEventListener("change", () => (this.#import(file.files[0]), (file.value = "")));
    $("#export", root).addEventListener("click", () => this.#export(app.list(), "conversations"));
  }

  show() {
    const inside = this.root.contains(document.activeElement) && document.activeElement.dataset.act;
    if (this.#renaming && document.activeElement?.name === "title") return; // it is being written in
    const list = this.app.list();
    $("#conversations", this.root).replaceChildren(...list.map((conversation) => this.#item(conversation)));
    $("#nothing", this.root).hidden = list.length > 0;
    $("#export", this.root).disabled = !list.length;
    if (inside)
      this.root
        .querySelector(`[aria-current] ~ [data-act="${inside}"], [aria-current] ~ * [data-act="${inside}"]`)
        ?.focus();
  }

  #item(conversation) {
    const current = conversation === this.app.conversation;
    if (this.#renaming === conversation) return el("li", { class: "current" }, this.#nameField(conversation));
    const open = el(
      "button",
      {
        type: "button",
        class: "title",
        "aria-current": current ? "true" : null,
        on: { click: () => this.act.open(conversation.id) },
      },
      titleOf(conversation),
    );
    if (this.app.busy(conversation))
      open.prepend(el("span", { class: "dot", role: "img", "aria-label": "Being answered:" }));
    if (!current) return el("li", {}, open);
    return el(
      "li",
      { class: "current" },
      open,
      iconButton("pencil", "Rename", () => this.#rename(conversation), { data: { act: "rename" } }),
      iconButton("save", "Export as a file", () => this.#export([conversation], titleOf(conversation)), {
        data: { act: "export" },
      }),
      iconButton("trash", "Delete", () => this.#remove(conversation), { data: { act: "delete" } }),
    );
  }

  #rename(conversation) {
    this.#renaming = conversation;
    this.show();
    $("input[name=title]", this.root).select();
  }

  #nameField(conversation) {
    const field = el("input", {
      name: "title",
      "aria-label": "The conversation's name",
      maxlength: 200,
      autocomplete: "off",
      value: titleOf(conversation),
    });
    const end = (kept) => {
      if (this.#renaming !== conversation) return;
      this.#renaming = null;
      if (kept) this.app.rename(conversation, field.value);
      field.blur();
      this.show();
      $("[data-act=rename]", this.root)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") (event.preventDefault(), end(true)); // or it would press what is focused next
      if (event.key === "Escape") (event.stopPropagation(), end(false));
    });
    field.addEventListener("blur", () => end(true));
    return field;
  }

  async #remove(conversation) {
    const title = titleOf(conversation);
    const back = await this.app.remove(conversation);
    this.act.notice(`“${title}” is deleted.`, ["Bring it back", back]);
    $("#new", this.root).focus();
  }

  async #export(conversations, name) {
    const text = await exported(conversations, this.app.pictures);
    saveAs(
      new Blob([text], { type: "application/json" }),
      `illume-${name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.json`,
    );
  }

  async #import(file) {
    if (!file) return;
    try {
      const found = imported(await file.text());
      for (const { conversation, pictures } of found) await this.app.take(conversation, pictures);
      if (found.length) this.act.open(found[0].conversation.id);
      this.act.notice(
        found.length === 1 ? "One conversation is imported." : `${found.length} conversations are imported.`,
      );
    } catch (error) {
      this.act.notice(error.message);
    }
  }
}

/** Hand a file to the person's downloads. */
export function saveAs(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
