// Marking the part of a picture that is to be painted anew, with a brush or a box, by pointer or keys. It makes a mask as
// the API wants it: as large as the picture, transparent where it is to be painted, black elsewhere.

import { $, el } from "./dom.js";

const VIEW = 640; // the canvas's own pixels along its longer side; CSS fits it to the screen

export class Masker {
  #marks = []; // {tool, size, points}: in shares of the picture
  #drawing = null;

  constructor(dialog) {
    this.dialog = dialog;
    this.canvas = $("canvas", dialog);
    this.#wire();
  }

  /** Let a person mark a picture: the mask as a PNG, null where nothing is marked, undefined where it was given up. */
  async mark(picture) {
    const bitmap = await createImageBitmap(picture);
    if (this.dialog.open) return undefined; // asked for twice
    this.bitmap = bitmap;
    const scale = VIEW / Math.max(this.bitmap.width, this.bitmap.height);
    this.canvas.width = Math.round(this.bitmap.width * scale);
    this.canvas.height = Math.round(this.bitmap.height * scale);
    this.#marks = [];
    this.#paint();
    this.dialog.returnValue = "";
    this.dialog.showModal();
    this.canvas.focus();
    return new Promise((resolve) => {
      this.dialog.onclose = async () => {
        const mask = this.dialog.returnValue === "done" ? await this.#mask() : undefined;
        this.bitmap.close();
        resolve(mask);
      };
    });
  }

  get #tool() {
    return $("input[name=tool]:checked", this.dialog).value;
  }

  get #size() {
    return Number($("#brush-size", this.dialog).value) / 100;
  }

  #wire() {
    const { canvas, dialog } = this;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.#drawing = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    $("#mask-undo", dialog).addEventListener("click", () => this.#changed(this.#marks.slice(0, -1)));
    $("#mask-clear", dialog).addEventListener("click", () => this.#changed([]));
    $("#mask-cancel", dialog).addEventListener("click", () => dialog.close(""));
    $("#mask-done", dialog).addEventListener("click", () => dialog.close("done"));
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (value) => Math.min(1, Math.max(0, value));
    return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
  }

  #begin(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.#drawing = { tool: this.#tool, size: this.#size, points: [at, at] };
    this.#changed([...this.#marks, this.#drawing]);
  }

  #move(event) {
    if (!this.#drawing) return;
    if (this.#drawing.tool === "box") this.#drawing.points[1] = this.#at(event);
    else this.#drawing.points.push(this.#at(event));
    this.#paint();
  }

  /** A box by keys: Enter sets one, arrows move it, with shift they change its size. */
  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const box = this.#marks.findLast(({ tool }) => tool === "box");
    if (event.key === "Enter" && !box)
      this.#changed([
        ...this.#marks,
        {
          tool: "box",
          size: 0,
          points: [
            [0.25, 0.25],
            [0.75, 0.75],
          ],
        },
      ]);
    else if (step && box) box.points = moved(box.points, step, event.shiftKey);
    else if (event.key === "Backspace") this.#changed(this.#marks.slice(0, -1));
    else return;
    event.preventDefault();
    this.#paint();
  }

  #changed(marks) {
    this.#marks = marks;
    this.#paint();
  }

  /** The picture, and over it what is marked. */
  #paint() {
    const { width, height } = this.canvas;
    const paper = this.canvas.getContext("2d");
    paper.imageSmoothingEnabled = this.bitmap.width > width / 4;
    paper.clearRect(0, 0, width, height);
    paper.drawImage(this.bitmap, 0, 0, width, height);
    if (this.#marks.length) this.#veil(paper, width, height);
    $("#mask-done", this.dialog).textContent = this.#marks.length ? "Use this mask" : "No mask";
  }

  /** What stays is dimmed, what is marked is tinted. */
  #veil(paper, width, height) {
    const rest = el("canvas", { width, height });
    const dark = rest.getContext("2d");
    const open = (colour) => marked(this.#marks, width, height, colour);
    dark.fillRect(0, 0, width, height);
    dark.globalCompositeOperation = "destination-out";
    dark.drawImage(open("#000"), 0, 0);
    paper.globalAlpha = 0.55;
    paper.drawImage(rest, 0, 0);
    paper.globalAlpha = 0.25;
    paper.drawImage(open(getComputedStyle(this.canvas).accentColor), 0, 0);
    paper.globalAlpha = 1;
  }

  /** Black where the picture stays, transparent where a pixel is marked by half or more. */
  #mask() {
    const { width, height } = this.bitmap;
    const layer = marked(this.#marks, width, height, "#000");
    const paper = layer.getContext("2d");
    const pixels = paper.getImageData(0, 0, width, height);
    let any = false;
    for (let i = 0; i < pixels.data.length; i += 4) {
      const open = pixels.data[i + 3] >= 128;
      any ||= open;
      pixels.data.set([0, 0, 0, open ? 0 : 255], i);
    }
    paper.putImageData(pixels, 0, 0);
    return any ? new Promise((resolve) => layer.toBlob(resolve, "image/png")) : null;
  }
}

/** A layer of the given size on which the marks are opaque. */
function marked(marks, width, height, colour) {
  const layer = el("canvas", { width, height });
  const paper = layer.getContext("2d", { willReadFrequently: true });
  Object.assign(paper, { fillStyle: colour, strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  for (const { tool, size, points } of marks) {
    paper.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
    if (tool === "box") {
      const [[left, top], [right, bottom]] = points;
      paper.fillRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
      continue;
    }
    paper.lineWidth = size * Math.max(width, height);
    paper.beginPath();
    points.forEach(([x, y]) => paper.lineTo(x * width, y * height));
    paper.stroke();
  }
  return layer;
}

function moved(points, [dx, dy], grows) {
  const share = (value) => Math.min(1, Math.max(0, value));
  return points.map(([x, y], i) => (grows && i === 0 ? [x, y] : [share(x + dx / 32), share(y + dy / 32)]));
}
