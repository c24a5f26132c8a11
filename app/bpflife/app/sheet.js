// @ts-check
/**
 * Draws a sheet: a tree of elements that Python describes as JSON. Strings become text nodes,
 * never markup; tags and attributes come from short lists. A new tree is laid over the old one,
 * so that focus, scrolling and what was typed into a filter stay.
 *
 * @typedef {string | [string, Object<string, any>, ...any[]]} Tree
 */

const SVG = "http://www.w3.org/2000/svg";
const TAGS = new Set(("div span p h1 h2 h3 ul ol li button a input label details summary table thead " +
  "tbody tr th td code b em dl dt dd nav section strong small").split(" "));
const ATTRIBUTES = new Set(("class id role title tabindex type placeholder value checked disabled scope " +
  "for open accept hidden maxlength autocomplete spellcheck").split(" "));
const MAX_FILE = 256 * 1024;
const WORKING_MS = 400; // an answer that takes longer is waited for with a sign

/** Stroked paths on a 16 x 16 grid. @type {Object<string, string>} */
const ICONS = {
  proved: "M2.5 8.5 6.5 12.5 13.5 4",
  violated: "M3.5 3.5 12.5 12.5M12.5 3.5 3.5 12.5",
  bounded: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M5 8.2l2.2 2.2L11.2 6",
  none: "M3 8h10",
  undecided: "M5.5 5.8A2.6 2.6 0 1 1 8 9v1.2M8 12.6v.6",
  warning: "M8 1.8 15 14H1zM8 6v4M8 11.8v.6",
  info: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 7.2v4M8 4.6v.6",
  undo: "M6 3 2.5 6.5 6 10M2.5 6.5H10a3.5 3.5 0 0 1 0 7H7",
  restart: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  download: "M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11",
  upload: "M8 11V3M4.5 6 8 2.5 11.5 6M2.5 13.5h11",
  link: "M7 9a3 3 0 0 0 4 .3l2-2a2.9 2.9 0 0 0-4-4L8 4.2M9 7a3 3 0 0 0-4-.3l-2 2a2.9 2.9 0 0 0 4 4L8 11.8",
  build: "M8 2.5v11M2.5 8h11",
  stop: "M4 4h8v8H4z",
  close: "M4 4l8 8M12 4l-8 8",
  run: "M5 3.5 12 8l-7 4.5z",
  wait: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 4.8V8l2.2 1.6",
  process: "M2 3h12v10H2zM4.5 6l2 2-2 2M8.5 10.5h3",
  cpu: "M4 4h8v8H4zM6 1.5V4M10 1.5V4M6 12v2.5M10 12v2.5M1.5 6H4M1.5 10H4M12 6h2.5M12 10h2.5",
  kernel: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1.5V4M8 12v2.5M1.5 8H4M12 8h2.5",
};

/** @param {string} name */
function icon(name) {
  const holder = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["class", `icon ${name}`], ["aria-hidden", "true"]]) {
    holder.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] || ICONS.info);
  holder.append(path);
  return holder;
}

/** @param {string} name */
function allowed(name) {
  return ATTRIBUTES.has(name) || name.startsWith("data-") || name.startsWith("aria-");
}

/** @param {Element} element @param {string} name @param {any} value */
function set(element, name, value) {
  if (name === "href") {
    if (/^[?#]/.test(String(value))) element.setAttribute(name, String(value)); // this app only
    return;
  }
  if (!allowed(name)) return;
  if (name === "checked") /** @type {HTMLInputElement} */ (element).checked = Boolean(value);
  else if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** @param {Tree} tree @returns {Node} */
function make(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attributes, ...children] = tree;
  if (tag === "icon") return icon(attributes.name);
  const element = document.createElement(TAGS.has(tag) ? tag : "span");
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.map(make));
  return element;
}

/** Whether one tree can be laid over the other. @param {Tree} old @param {Tree} tree */
function same(old, tree) {
  if (typeof old === "string" || typeof tree === "string") return typeof old === typeof tree;
  return old[0] === tree[0] && old[1].key === tree[1].key && old[1].name === tree[1].name;
}

/** Lay a tree over a node that shows one like it; children are matched by key, tag and order.
 *  @param {Node} node @param {Tree} old @param {Tree} tree */
function patch(node, old, tree) {
  if (typeof tree === "string" || typeof old === "string") {
    if (old !== tree) node.nodeValue = /** @type {string} */ (tree);
    return;
  }
  if (tree[0] === "icon") return;
  const element = /** @type {Element} */ (node);
  for (const name of Object.keys(old[1])) if (!(name in tree[1])) element.removeAttribute(name);
  for (const [name, value] of Object.entries(tree[1])) {
    if (old[1][name] !== value || name === "checked") set(element, name, value);
  }
  const nodes = [...element.childNodes];
  const pool = old.slice(2).map((before, i) => ({ before, node: nodes[i], used: false }));
  tree.slice(2).forEach((child, i) => {
    const found = pool.find((entry) => !entry.used && same(entry.before, child));
    if (found) {
      found.used = true;
      patch(found.node, found.before, child);
    }
    const now = found ? found.node : make(child);
    if (element.childNodes[i] !== now) element.insertBefore(now, element.childNodes[i] || null);
  });
  for (const { node: left, used } of pool) if (!used) /** @type {ChildNode} */ (left).remove();
}

class Sheet {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.root = document.createElement("div");
    this.root.className = "paper";
    /** @type {Tree} */
    this.tree = ["div", {}];
    this.body = make(this.tree);
    this.asked = ""; // the row that was brought into view
    this.patience = 0;
    this.sign = document.createElement("div");
    this.sign.className = "working";
    this.sign.setAttribute("role", "status");
    this.sign.hidden = true;
    this.sign.append("Working …");
    this.root.append(this.body, this.sign);
    this.root.addEventListener("click", (event) => this.clicked(event));
    this.root.addEventListener("change", (event) => this.changed(event));
    this.root.addEventListener("input", (event) => this.typed(event));
    el.append(this.root);
    model.on("tree", () => this.show());
    model.on("theme", () => this.themed());
    model.on("answered", () => this.working(false));
    model.on("revealed", () => requestAnimationFrame(() => this.reveal()));
    if (model.revealed) setTimeout(() => this.reveal(), 500); // when the page has its height
    model.on("msg:custom", (/** @type {any} */ event) => this.told(event.data || event));
    this.themed();
    this.show();
  }

  themed() {
    this.root.dataset.theme = this.model.theme;
  }

  show() {
    const next = ["div", {}, ...this.model.tree];
    patch(this.body, this.tree, /** @type {Tree} */ (next));
    this.tree = /** @type {Tree} */ (next);
    for (const field of this.root.querySelectorAll("[data-filter]")) this.filter(field);
    for (const current of this.root.querySelectorAll("[data-follow] [aria-current]")) this.follow(current);
    const asked = /** @type {HTMLElement|null} */ (this.root.querySelector("[data-show]"));
    const name = asked ? asked.dataset.show || "" : "";
    if (asked && name !== this.asked) setTimeout(() => asked.scrollIntoView({ block: "center" }), 500);
    this.asked = name;
  }

  /** Tell Python, and show that it works if the answer takes a while. @param {object} message */
  tell(message) {
    this.working(true);
    this.model.send_msg(message);
  }

  /** @param {boolean} on */
  working(on) {
    clearTimeout(this.patience);
    if (!on) this.sign.hidden = true;
    else this.patience = setTimeout(() => { this.sign.hidden = false; }, WORKING_MS);
  }

  /** Scroll the list (not the page) to its current entry. @param {Element} current */
  follow(current) {
    const list = /** @type {HTMLElement} */ (current.closest("[data-follow]"));
    const [outer, inner] = [list.getBoundingClientRect(), current.getBoundingClientRect()];
    if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom + 6;
    else if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top + 6;
  }

  /** @param {Event} event */
  clicked(event) {
    const target = /** @type {HTMLElement} */ (/** @type {Element} */ (event.target).closest("[data-do]"));
    if (!target || target instanceof HTMLInputElement) return;
    const mouse = /** @type {MouseEvent} */ (event);
    if (target.tagName === "A") {
      if (mouse.ctrlKey || mouse.metaKey || mouse.shiftKey) return; // a tab of its own
      event.preventDefault();
    }
    if (target.getAttribute("aria-disabled") === "true") return;
    if (target.dataset.do === "copy") {
      this.copy(target);
      return;
    }
    this.tell({ do: target.dataset.do, value: target.dataset.value || "" });
  }

  /** @param {HTMLElement} target */
  copy(target) {
    const said = target.querySelector(".said") || target;
    const done = (/** @type {string} */ words) => {
      const before = said.textContent;
      said.textContent = words;
      setTimeout(() => { said.textContent = before; }, 1600);
    };
    navigator.clipboard.writeText(window.location.href).then(() => done("Copied"), () => done("Copy the address bar"));
  }

  /** @param {Event} event */
  changed(event) {
    const target = /** @type {HTMLInputElement} */ (event.target);
    if (!target.dataset.do) return;
    if (target.type === "file") this.file(target);
    else this.tell({ do: target.dataset.do, value: target.dataset.value || "", checked: target.checked });
  }

  /** @param {HTMLInputElement} target */
  async file(target) {
    const file = target.files && target.files[0];
    if (!file) return;
    const message = { do: target.dataset.do, value: file.name.slice(0, 80), text: "", size: file.size };
    if (file.size <= MAX_FILE) message.text = await file.text();
    target.value = "";
    this.tell(message);
  }

  /** @param {Event} event */
  typed(event) {
    const target = /** @type {HTMLInputElement} */ (event.target);
    if (target.dataset.filter !== undefined) this.filter(target);
  }

  /** Hide what does not contain every word. @param {Element} field */
  filter(field) {
    const words = /** @type {HTMLInputElement} */ (field).value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const item of this.root.querySelectorAll("[data-find]")) {
      const text = (/** @type {HTMLElement} */ (item).dataset.find || "").toLowerCase();
      item.toggleAttribute("hidden", !words.every((word) => text.includes(word)));
    }
    for (const group of this.root.querySelectorAll("[data-group]")) {
      group.toggleAttribute("hidden", !group.querySelector("[data-find]:not([hidden])"));
    }
    for (const empty of this.root.querySelectorAll("[data-empty]")) {
      empty.toggleAttribute("hidden", Boolean(this.root.querySelector("[data-find]:not([hidden])")));
    }
  }

  reveal() {
    if (this.root.getBoundingClientRect().top < 0.5 * window.innerHeight) return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.root.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
  }

  /** What Python asks for. @param {any} message */
  told(message) {
    if (!message || !message.download) return;
    const { name, text, mime } = message.download;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: mime }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/** @param {{model: any, el: HTMLElement}} place */
export function render({ model, el }) {
  new Sheet(model, el);
}
