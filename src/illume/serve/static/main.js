// The page: joins its parts, and keeps the keys. Each part is in a module of its own.

import { Api } from "./api.js";
import { App } from "./app.js";
import { Composer } from "./composer.js";
import { $, button, keep, kept } from "./dom.js";
import { Masker } from "./mask.js";
import { Pictures } from "./pictures.js";
import { saveAs, Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Thread } from "./thread.js";
import { path, titleOf, undone } from "./tree.js";

const KEY = "illume.key";
const NEAR = 120; // so near to the end, the page follows what comes

const api = new Api();
const store = await openStore();
const pictures = new Pictures(store);
const masker = new Masker($("#masker"));

const views = {
  list: () => sidebar.show(),
  conversation() {
    thread.reset();
    composer.reset();
    sidebar.show();
    state();
    toEnd();
    showDrawer(false);
  },
  path() {
    thread.path();
    composer.show();
    state();
    toEnd();
  },
  answer(conversation, turn, i) {
    if (conversation !== app.conversation) return;
    thread.answer(turn, i);
    composer.show();
    state();
  },
  announce: (words) => ($("#status").textContent = words),
  askKey,
  notice,
};

const app = new App({ api, store, pictures, views });
const act = {
  edit: (name) => composer.take([name], "edit"),
  ask: (name) => composer.take([name], "chat"),
  mask,
  save: async (name) => saveAs(await pictures.blob(name), `illume-${name.slice(0, 8)}.png`),
  zoom,
  rephrase: (turn) => (app.backTo(turn), composer.fill(turn)),
  say: (asked, settings) => (notice(null), app.say(asked, settings)),
  stop: () => app.stop(),
  undo: () => app.undo(),
  redo: () => app.redo(),
  new: fresh,
  fresh,
  open: (id) => app.open(id),
  help: () => $("#help").showModal(),
  notice,
};
const thread = new Thread($("#turns"), app, act);
const composer = new Composer($("#composer"), app, act);
const sidebar = new Sidebar($("#drawer"), app, act);

function fresh() {
  app.fresh();
  composer.words.focus();
}

/** What depends on where the conversation stands: its title, what can be undone, the first words. */
function state() {
  const empty = path(app.conversation).length === 0;
  const busy = app.busy();
  $("#welcome").hidden = !empty;
  $("#undo").disabled = busy || empty;
  $("#redo").disabled = busy || !undone(app.conversation);
  const title = Object.keys(app.conversation.turns).length ? titleOf(app.conversation) : "";
  $("#title").textContent = title || "ILLUME";
  $("#title").classList.toggle("brand", !title);
  document.title = title ? `${title} · ILLUME` : "ILLUME";
  keep("illume.open", app.all.has(app.conversation.id) ? app.conversation.id : null);
}

/** The page follows what comes, as long as its end is in sight. */
let following = true;
const place = $("#thread");
const toEnd = () => ((following = true), (place.scrollTop = place.scrollHeight));
let before = 0;
place.addEventListener("scroll", () => {
  const near = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR;
  if (near || place.scrollTop < before) following = near; // what grows meanwhile is no wish to stay behind
  before = place.scrollTop;
});
const watching = new ResizeObserver(() => following && toEnd());
for (const what of [place, $("#turns")]) watching.observe(what);

// Pictures

async function mask(name) {
  const found = await masker.mark(await pictures.blob(name));
  if (found !== undefined) composer.take([name], "edit", found && pictures.add(found));
}

function zoom(name, words) {
  const viewer = $("#viewer");
  pictures.show($("img", viewer), name).alt = words;
  for (const what of ["edit", "mask", "ask", "save"]) {
    $(`#viewer-${what}`).onclick = () => (viewer.close(), act[what](name));
  }
  viewer.showModal();
}

function takesFiles(target) {
  const files = (transfer) =>
    [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/") || !file.type);
  target.addEventListener("paste", (event) => {
    const found = files(event.clipboardData);
    if (found.length) (event.preventDefault(), composer.addFiles(found));
  });
  target.addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) (event.preventDefault(), document.body.classList.add("dropping"));
  });
  target.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  target.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (event.dataTransfer?.types.includes("Files"))
      (event.preventDefault(), composer.addFiles(files(event.dataTransfer)));
  });
}

// The server

async function connect() {
  try {
    const models = await api.models();
    app.model = models[0] ?? null;
    showModels(models);
    notice(null);
    $("#keybar").hidden = true;
    return true;
  } catch (error) {
    if (error.status === 401) askKey(api.key !== null);
    else notice(error.message, ["Try again", connect]);
    return false;
  }
}

function showModels(models) {
  const choice = $("#model");
  choice.replaceChildren(...models.map(({ id }) => new Option(id, id)));
  choice.hidden = models.length === 0;
  choice.disabled = models.length < 2;
  choice.onchange = () => (app.model = models[choice.selectedIndex]);
}

function askKey(refused) {
  $("#key-wrong").hidden = !refused;
  $("#keybar").hidden = false;
  $("#key").focus();
}

$("#keybar").addEventListener("submit", async (event) => {
  event.preventDefault();
  api.key = $("#key").value.trim() || null;
  const lasting = $("#key-keep").checked;
  keep(KEY, lasting ? api.key : null);
  if (!(await connect())) return;
  $("#key").value = "";
  composer.words.focus();
  app.retryRefused();
});

// Notices, the drawer, the look, the keys

function notice(words, action = null) {
  const bar = $("#notice");
  bar.hidden = !words;
  if (!words) return;
  const acts = action ? [button(action[0], () => (notice(null), action[1]()))] : [];
  $("#notice-words").textContent = words;
  $("#notice-act").replaceChildren(...acts);
}

function showDrawer(open) {
  document.body.classList.toggle("drawer-open", open);
  $("#menu").setAttribute("aria-expanded", String(open));
  fitDrawer();
  if (open) $("#new").focus();
}

const narrow = matchMedia("(max-width: 859px)");
const fitDrawer = () => ($("#drawer").inert = narrow.matches && !document.body.classList.contains("drawer-open"));

function showLook(look) {
  const label = { auto: "Look: as the system", light: "Look: light", dark: "Look: dark" }[look];
  Object.assign($("#theme"), { title: label, ariaLabel: label });
  $("#theme use").setAttribute("href", { auto: "#i-auto", light: "#i-sun", dark: "#i-moon" }[look]);
}

/** Escape stops, or closes what is open; returns whether there was something. */
function escape() {
  if (app.stop()) return true;
  if (document.body.classList.contains("drawer-open")) return (showDrawer(false), $("#menu").focus(), true);
  if (!$("#notice").hidden) return (notice(null), true);
  if (!$("#settings").hidden) return (composer.toggleSettings(), true);
  return false;
}

const SHORTCUTS = {
  n: fresh,
  u: act.undo,
  r: act.redo,
  s: () => composer.toggleSettings(),
  1: () => composer.setKind("chat"),
  2: () => composer.setKind("draw"),
  3: () => composer.setKind("edit"),
  "/": () => composer.words.focus(),
  i: () => composer.words.focus(),
  t: () => showLook(window.illumeTheme.next()),
  "?": act.help,
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.defaultPrevented) return;
  if (event.key === "Escape" && !event.isComposing) return void (escape() && event.preventDefault());
  const writing = event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, canvas");
  if (writing && event.target === composer.words && event.key === "ArrowUp" && !composer.words.value) {
    const turn = path(app.conversation).at(-1);
    if (turn && !app.busy()) (event.preventDefault(), act.rephrase(turn));
  }
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const shortcut = SHORTCUTS[event.key];
  if (shortcut) (event.preventDefault(), shortcut());
});

$("#undo").addEventListener("click", act.undo);
$("#redo").addEventListener("click", act.redo);
$("#help-open").addEventListener("click", act.help);
$("#theme").addEventListener("click", () => showLook(window.illumeTheme.next()));
$("#notice-close").addEventListener("click", () => notice(null));
$("#menu").addEventListener("click", () => showDrawer(!document.body.classList.contains("drawer-open")));
$("#shade").addEventListener("click", () => showDrawer(false));
for (const close of document.querySelectorAll("dialog .close"))
  close.addEventListener("click", () => close.closest("dialog").close());
for (const dialog of document.querySelectorAll("dialog.light"))
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
for (const example of document.querySelectorAll("#examples button")) {
  example.addEventListener("click", () => {
    composer.setKind(example.dataset.kind);
    act.say(
      { kind: example.dataset.kind, text: example.textContent.trim(), pictures: [], mask: null },
      composer.settings,
    );
  });
}
narrow.addEventListener("change", () => showDrawer(false));
takesFiles(document);
showLook(window.illumeTheme.get());
fitDrawer();

api.key = typeof kept(KEY) === "string" ? kept(KEY) : null;
await app.load();
app.open(kept("illume.open"));
document.body.classList.add("ready");
if (!matchMedia("(pointer: coarse)").matches) composer.words.focus();
if (await connect()) {
  if (!store.lasting)
    notice(
      "This browser keeps nothing for this page: conversations last until it is closed. Export what you want to keep.",
    );
}
