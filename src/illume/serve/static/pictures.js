// Pictures by name: kept in the store, shown through object URLs, taken from files as they are or made smaller.
// It does not know where in a conversation a picture stands.

import { newId } from "./dom.js";

const LARGEST_SIDE = 2048; // more than any model here reads; a phone's photograph would only fill the request
const AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"];
const SMALL_SIDE = 128; // up to it, pixels are shown as squares
const LARGE_SIDE = 300; // above it, a picture is given more room

/** Whether a picture of these sides is given more room. */
export const isLarge = (...sides) => Math.max(...sides) > LARGE_SIDE;

/** How a picture that has come is shown: a small one with its pixels as squares, a large one larger. */
export function fit(image) {
  const side = Math.max(image.naturalWidth, image.naturalHeight);
  image.classList.toggle("pixels", side <= SMALL_SIDE);
  image.parentElement?.classList.toggle("large", isLarge(side));
}

export class Pictures {
  #blobs = new Map();
  #urls = new Map();
  #unsaved = new Map();

  constructor(store) {
    this.store = store;
  }

  /** Take a picture in; it is written with the next conversation that is saved. */
  add(blob) {
    const name = newId();
    this.#blobs.set(name, blob);
    this.#unsaved.set(name, blob);
    return name;
  }

  /** The bytes; null where the browser no longer has them. */
  async blob(name) {
    if (!this.#blobs.has(name)) this.#blobs.set(name, (await this.store.picture(name)) ?? null);
    return this.#blobs.get(name);
  }

  /** Show a picture in an <img>. */
  show(image, name) {
    image.classList.add("loading");
    image.onload = () => {
      image.classList.remove("loading");
      fit(image);
    };
    this.#url(name).then((url) => {
      if (url) image.src = url;
      else image.alt = "This picture is no longer kept in this browser.";
    });
    return image;
  }

  /** The pictures among these names that the store does not have yet. */
  unsaved(names) {
    return new Map(names.filter((name) => this.#unsaved.has(name)).map((name) => [name, this.#unsaved.get(name)]));
  }

  saved(names) {
    for (const name of names) this.#unsaved.delete(name);
  }

  /** Let go of what is shown, when another conversation is. */
  forget() {
    for (const url of this.#urls.values()) URL.revokeObjectURL(url);
    this.#urls.clear();
    for (const name of this.#blobs.keys()) if (!this.#unsaved.has(name)) this.#blobs.delete(name);
  }

  async #url(name) {
    const blob = await this.blob(name);
    if (!blob) return null;
    if (!this.#urls.has(name)) this.#urls.set(name, URL.createObjectURL(blob));
    return this.#urls.get(name);
  }
}

/** A file as a picture to send: upright, of a kind the server takes, at most LARGEST_SIDE wide and high. */
export async function pictureFromFile(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name || "This"}: not a picture that this browser can read.`);
  }
  const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const fits = scale === 1 && AS_THEY_ARE.includes(file.type) && file.type !== "image/jpeg";
  if (fits) return new Blob([file], { type: file.type });
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) =>
    canvas.toBlob(resolve, file.type === "image/jpeg" ? "image/jpeg" : "image/png", 0.95),
  );
}
