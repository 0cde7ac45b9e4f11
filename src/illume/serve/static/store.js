// Conversations and pictures, kept in the browser (IndexedDB). Where the browser keeps nothing, they last as long as the
// page. It does not know what a conversation means.

const NAME = "illume";
const VERSION = 1;

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const finished = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () =>
      reject(transaction.error ?? new Error("the browser's storage gave up"));
  });

function opened() {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("conversations", { keyPath: "id" });
    request.result.createObjectStore("pictures");
  };
  return done(request);
}

/** The browser's own store, or one in memory with `lasting` false. */
export async function openStore() {
  try {
    return new Lasting(await opened());
  } catch {
    return new Passing();
  }
}

class Lasting {
  lasting = true;

  constructor(database) {
    this.database = database;
    database.onversionchange = () => database.close(); // a newer page in another tab
  }

  conversations() {
    return done(this.database.transaction("conversations").objectStore("conversations").getAll());
  }

  conversation(id) {
    return done(this.database.transaction("conversations").objectStore("conversations").get(id));
  }

  picture(name) {
    return done(this.database.transaction("pictures").objectStore("pictures").get(name));
  }

  /** A conversation with the pictures that are new in it, or neither. */
  async save(conversation, pictures = new Map()) {
    const transaction = this.database.transaction(["conversations", "pictures"], "readwrite");
    const written = finished(transaction);
    for (const [name, blob] of pictures) transaction.objectStore("pictures").put(blob, name);
    transaction.objectStore("conversations").put(conversation); // which copies it
    await written;
  }

  async remove(id, names) {
    const transaction = this.database.transaction(["conversations", "pictures"], "readwrite");
    const written = finished(transaction);
    transaction.objectStore("conversations").delete(id);
    for (const name of names) transaction.objectStore("pictures").delete(name);
    await written;
  }
}

class Passing {
  lasting = false;
  held = new Map();
  blobs = new Map();

  async conversations() {
    return [...this.held.values()];
  }

  async conversation(id) {
    return this.held.get(id);
  }

  async picture(name) {
    return this.blobs.get(name);
  }

  async save(conversation, pictures = new Map()) {
    this.held.set(conversation.id, conversation);
    for (const [name, blob] of pictures) this.blobs.set(name, blob);
  }

  async remove(id, names) {
    this.held.delete(id);
    for (const name of names) this.blobs.delete(name);
  }
}
