// @ts-check
/**
 * The lifetime picture: draws a trace as SVG and steps through it, without a server.
 *
 * No imports. `render({model, el})` fits Panel's JSComponent; `standalone(values)` gives a model
 * for a page of its own. All strings of the trace become text nodes or attribute values that hold
 * text; nothing is ever parsed as HTML. Positions come from Python (layout.py): this module only
 * switches classes and texts, so that one step touches what changes and nothing else.
 *
 * @typedef {{life: "ghost"|"live"|"dying"|"freed"|"absent", word: string, ref?: number,
 *            user?: number, note?: string, mark?: string}} Condition
 * @typedef {{id: string, kind: string, lane: string, label: string, full: string, icon: string,
 *            shape: string, hue: string}} NodeData
 * @typedef {{from: string, to: string, style: string, slot: string, title: string,
 *            label?: string}} EdgeData
 * @typedef {{width: number, height: number, lanes: string[][], nodes: Object<string, number[]>, bands: number[][],
 *            paths: string[], mids: number[][], labels: number[][]}} Layout
 * @typedef {{nodes: Object<string, Condition>, edges: number[], added: number[],
 *            removed: number[], dangling: number[]}} StateData
 * @typedef {{node: string, ref?: number, user?: number}} Change
 * @typedef {{rule: string, title: string, actor: string, sentence: string, say?: string, call?: string,
 *            errno?: string, internal?: boolean, changes: Change[]}} StepData
 * @typedef {{title: string, about?: string, nodes: NodeData[],
 *            edges: EdgeData[], wide: Layout, tall: Layout, states: StateData[],
 *            steps: StepData[], violation?: {at: number, property: string, sentence: string,
 *            nodes: string[]}}} Picture
 * @typedef {{picture: Picture, step: number, playing: boolean, theme: string,
 *            on: (name: string, react: () => void) => void,
 *            send_msg?: (message: object) => void}} Model
 */

// --- making elements -------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const NARROW = 640; // px of the picture's own width: below, bar and words take less room
const SMALLEST = 0.7; // scale below which a wide picture is drawn tall instead
const PLAY_MS = 1900;
const ROOMY = 1000; // px of the picture's width from which on the legend is open at first
let instances = 0;

/**
 * @param {Element} element
 * @param {Object<string, string|number>} attributes
 * @param {(Node|string)[]} children
 */
function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children); // strings become text nodes
}

/** @param {string} tag @param {Object<string, string|number>} [attributes]
 *  @param {...(Node|string)} children @returns {SVGElement} */
function svg(tag, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  furnish(element, attributes, children);
  return element;
}

/** @param {string} tag @param {Object<string, string|number>} [attributes]
 *  @param {...(Node|string)} children @returns {HTMLElement} */
function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  furnish(element, attributes, children);
  return element;
}

/** @param {Element} element @param {string} name @param {string} value */
function put(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** @param {Element} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- icons and shapes ------------------------------------------------------------------------

/** Stroked paths on a 16 x 16 grid. @type {Object<string, string>} */
const ICONS = {
  process: "M2 3h12v10H2zM4.5 6l2 2-2 2M8.5 10.5h3",
  call: "M2 8h9M8 4.5 11.5 8 8 11.5M14 3v10",
  descriptor: "M6.5 2.5 5 13.5M11 2.5 9.5 13.5M3 6h11M2 10h11",
  file: "M4 1.8h5.5L12.5 5v9.2H4zM9.5 1.8V5h3",
  map: "M2 3h12v10H2zM2 6.5h12M2 9.8h12M6.5 3v10",
  program: "M5 4 1.5 8 5 12M11 4l3.5 4L11 12M9 3 7 13",
  psock: "M2 8h4M10 8h4M6 4.5h4v7H6zM8 6.5v3",
  socket: "M3 5h4v6H3zM9 5h4v6H9zM7 8h2M5 5V2.5M11 5V2.5",
  message: "M1.5 3.5h13v9h-13zM1.5 4 8 9l6.5-5",
  btf: "M3 2h10M8 2v12M5.5 14h5",
  link: "M7 9a3 3 0 0 0 4 .3l2-2a2.9 2.9 0 0 0-4-4L8 4.2M9 7a3 3 0 0 0-4-.3l-2 2a2.9 2.9 0 0 0 4 4L8 11.8",
  record: "M3 2.5h10v11H3zM3 6h10M3 9.5h10M5.500 4.300h1.500M5.500 7.800h1.500M5.500 11.500h1.500",
  hook: "M10 1.5v8.5a3.5 3.5 0 0 1-7 0V8l2 2.2M3 8l-2 2.2M8 1.5h4",
  pin: "M5 2h6M6 2v5l-2 2.5h8L10 7V2M8 9.5V14.5",
  inode: "M4 1.8h5.5L12.5 5v9.2H4zM9.5 1.8V5h3M6.5 8h3.5M8.2 8v4",
  bpffs: "M2 5.5C2 3.5 14 3.5 14 5.5v6C14 13.5 2 13.5 2 11.5zM2 5.5C2 7.5 14 7.5 14 5.5",
  mount: "M2 13.5h12M8 2v8.5M4.5 7 8 10.5 11.5 7",
  mntns: "M2 3h12v10H2zM5 10.5h6M8 5v4",
  netdev: "M2.5 3h11v7h-11zM5.5 10v3M8 10v3M10.5 10v3M5 6.5h6",
  tap: "M2.5 4h11M8 4v4.5M6 8.5h4v2.5a2 2 0 0 1-4 0zM8 13v2",
  netns: "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M2 8h12M8 2c-3 3.5-3 8.5 0 12c3-3.5 3-8.5 0-12",
  cpu: "M4 4h8v8H4zM6.5 6.5h3v3h-3zM6 1.5V4M10 1.5V4M6 12v2.5M10 12v2.5M1.5 6H4M1.5 10H4M12 6h2.5M12 10h2.5",
  other: "M8 2.5 13.5 8 8 13.5 2.5 8z",
  warning: "M8 1.8 15 14H1zM8 6v4M8 11.8v.6",
  kernel: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1.5V4M8 12v2.5M1.5 8H4M12 8h2.5",
  first: "M3 3v10M13 3.5 7.5 8 13 12.5",
  previous: "M10.5 3 5 8l5.5 5",
  play: "M4 2.5 13 8l-9 5.5z",
  pause: "M4.5 3v10M11.5 3v10",
  next: "M5.5 3 11 8l-5.5 5",
  last: "M13 3v10M3 3.5 8.5 8 3 12.5",
};

/** @param {string} name @param {Object<string, string|number>} [attributes] */
function icon(name, attributes = {}) {
  const drawn = ICONS[name] || ICONS.other;
  return svg("g", { class: "icon", "aria-hidden": "true", ...attributes }, svg("path", { d: drawn }));
}

/** An icon in the flow of HTML. @param {string} name */
function htmlIcon(name) {
  return svg("svg", { viewBox: "0 0 16 16", width: 18, height: 18, "aria-hidden": "true" }, icon(name));
}

/** @param {string} shape @param {number} w @param {number} h */
function outline(shape, w, h) {
  if (shape === "pill") return rounded(w, h, h / 2);
  if (shape === "square") return rounded(w, h, 1.5);
  if (shape === "hexagon") return `M12,0H${w - 12}L${w},${h / 2}L${w - 12},${h}H12L0,${h / 2}Z`;
  if (shape === "page") return `M0,0H${w - 13}L${w},13V${h}H0Z`;
  if (shape === "drum") {
    return `M0,2A${w / 2},5 0 0 1 ${w},2V${h - 3}A${w / 2},5 0 0 1 0,${h - 3}Z`;
  }
  return rounded(w, h, 8);
}

/** @param {number} w @param {number} h @param {number} r */
function rounded(w, h, r) {
  const arc = `a${r},${r} 0 0 1 `;
  return `M${r},0H${w - r}${arc}${r},${r}V${h - r}${arc}${-r},${r}H${r}${arc}${-r},${-r}V${r}${arc}${r},${-r}Z`;
}

/** Lines that make a shape recognisable. @param {string} shape @param {number} w */
function ornament(shape, w) {
  if (shape === "drum") return `M0,2A${w / 2},4 0 0 0 ${w},2`;
  if (shape === "page") return `M${w - 13},0V13H${w}`;
  return "";
}

// --- nodes -----------------------------------------------------------------------------------

const COUNTS = { ref: "refcnt", user: "usercnt" };

const NAME_WIDTH = { ref: 42, user: 51 }; // of the name and a space: picture.py counts so too
const DIGIT_WIDTH = 7.3;

/** A counter: a pill with a name and a number, and the change that flies off it. */
class Counter {
  /** @param {"ref"|"user"} name @param {SVGElement} host */
  constructor(name, host) {
    this.name = COUNTS[name];
    this.room = NAME_WIDTH[name];
    this.value = "";
    this.back = svg("rect", { rx: 8, height: 16 });
    this.text = svg("text", { y: 11.8 });
    this.group = svg("g", { class: `count ${name}`, display: "none" }, this.back, this.text);
    this.flyText = svg("text", { y: 12, "text-anchor": "middle", x: 13 });
    this.flyer = svg("g", { class: "flyer" }, svg("rect", { width: 26, height: 16, rx: 8 }), this.flyText);
    this.fly = svg("g", { display: "none" }, this.flyer);
    this.host = host;
    host.append(this.group);
  }

  /** @param {number} x @param {number} y @param {number|undefined} value @returns {number} next x */
  show(x, y, value) {
    const shown = value === undefined ? "" : `${this.name} ${value}`;
    if (shown !== this.value) {
      this.value = shown;
      put(this.group, "display", shown ? "inline" : "none");
      say(this.text, shown);
    }
    if (!shown) return x;
    const width = this.room + String(value).length * DIGIT_WIDTH + 12;
    put(this.back, "width", String(width));
    put(this.text, "x", "6.5");
    put(this.group, "transform", `translate(${x},${y})`);
    put(this.group, "data-zero", value === 0 ? "yes" : "no");
    put(this.fly, "transform", `translate(${x + width / 2 - 13},${y + 16})`);
    return x + width + 4;
  }

  /** @param {number|undefined} change */
  change(change) {
    put(this.fly, "display", change ? "inline" : "none");
    if (!change) return;
    say(this.flyText, change > 0 ? `+${change}` : `−${-change}`);
    this.flyer.setAttribute("class", `flyer ${change > 0 ? "plus" : "minus"}`);
    restart(this.flyer);
  }
}

/** Run an element's CSS animation again. @param {Element} element */
function restart(element) {
  for (const animation of element.getAnimations ? element.getAnimations() : []) {
    animation.cancel();
    animation.play();
  }
}

class NodeView {
  /** @param {NodeData} data @param {number[]} box @param {string} hatch */
  constructor(data, box, hatch) {
    const [x, y, w, h] = box;
    const slant = data.shape === "hexagon" || data.shape === "pill" ? 6 : 0;
    const shape = outline(data.shape, w, h);
    this.data = data;
    this.left = 10 + slant;
    this.line = h - 22;
    this.title = svg("title");
    this.word = svg("text", { class: "word", y: this.line + 12 });
    this.label = svg("text", { class: "label", x: this.left + 22, y: 19 }, data.label);
    this.bell = svg("g", { class: "bell", transform: `translate(${w - 13},-11)` },
      svg("circle", { cx: 9, cy: 9, r: 11 }), icon("warning", { transform: "translate(1.500,0.500) scale(.94)" }));
    this.element = svg("g", {
      class: "node", transform: `translate(${x},${y})`, "data-hue": data.hue, "data-id": data.id,
    },
    this.title,
    svg("path", { class: "halo", d: shape }),
    svg("path", { class: "body", d: shape }),
    svg("path", { class: "hatch", d: shape, fill: `url(#${hatch})` }),
    svg("path", { class: "border", d: shape }),
    svg("path", { class: "inner", d: shape }),
    svg("path", { class: "ornament", d: ornament(data.shape, w) }),
    icon(data.icon, { transform: `translate(${this.left},6)` }),
    this.label, this.word, this.bell);
    this.ref = new Counter("ref", this.element);
    this.user = new Counter("user", this.element);
    this.top = svg("g", { transform: `translate(${x},${y})`, "aria-hidden": "true" }, this.ref.fly, this.user.fly);
    this.shown = "";
  }

  /** @param {Condition} condition @param {boolean} violated @param {Change|undefined} change */
  show(condition, violated, change) {
    const key = JSON.stringify([condition, violated]);
    if (key !== this.shown) {
      this.shown = key;
      this.paint(condition, violated);
    }
    this.ref.change(change && change.ref);
    this.user.change(change && change.user);
  }

  /** @param {Condition} condition @param {boolean} violated */
  paint(condition, violated) {
    put(this.element, "class", `node ${condition.life}${violated ? " violated" : ""}`);
    let x = this.ref.show(this.left, this.line, condition.ref);
    x = this.user.show(x, this.line, condition.user);
    put(this.word, "x", String(x + (x > this.left ? 2 : 0)));
    say(this.word, condition.word + (condition.mark ? `${condition.word ? ", " : ""}${condition.mark}` : ""));
    const words = this.describe(condition, violated);
    say(this.title, words);
    put(this.element, "aria-label", words);
    const there = condition.life !== "absent" && condition.life !== "ghost";
    put(this.element, "role", there ? "button" : "img"); // what is not there yet can't be chosen
    if (there) put(this.element, "tabindex", "0");
    else this.element.removeAttribute("tabindex");
  }

  /** @param {Condition} condition @param {boolean} violated */
  describe(condition, violated) {
    const parts = [`${this.data.kind} ${this.data.full}`];
    if (violated) parts.push("violated");
    if (condition.ref !== undefined) parts.push(`refcnt ${condition.ref}`);
    if (condition.user !== undefined) parts.push(`usercnt ${condition.user}`);
    if (condition.life === "dying") parts.push("dying");
    if (condition.word) parts.push(condition.word);
    if (condition.mark) parts.push(condition.mark);
    if (condition.note) parts.push(condition.note);
    return parts.join(", ");
  }
}

// --- edges -----------------------------------------------------------------------------------

class EdgeView {
  /** @param {EdgeData} data @param {string} path @param {number[]} mid @param {number[]} label
   *  @param {string} uid */
  constructor(data, path, mid, label, uid) {
    this.data = data;
    this.now = "";
    this.uid = uid;
    this.line = svg("path", { class: "line", d: path });
    this.title = svg("title", {}, data.title);
    this.element = svg("g", { class: "edge", display: "none" },
      this.title, svg("path", { class: "hit", d: path }), this.line);
    // above all lines, so that none of them runs through it
    this.marks = svg("g", { class: "marks", display: "none" }, svg("path", {
      class: "strike", d: "M-5,-5 5,5M5,-5-5,5", transform: `translate(${mid[0]},${mid[1]})`,
    }));
    if (data.label) {
      this.marks.prepend(svg("text", { class: "slot", x: label[0], y: label[1] + 4 }, data.label));
    }
  }

  /** @param {""|"on"|"added"|"removed"} now @param {boolean} dangling leads to what it does not keep */
  show(now, dangling) {
    const style = dangling && now !== "removed" ? "dangling" : this.data.style;
    const looks = now ? `${style} ${now}` : "";
    if (looks === this.now) return;
    this.now = looks;
    const display = now ? "inline" : "none";
    put(this.element, "display", display);
    put(this.marks, "display", display);
    put(this.element, "class", `edge ${looks}`);
    put(this.marks, "class", `marks ${looks}`);
    say(this.title, `${this.data.title}${style === "dangling" ? "; DANGLING: it keeps nothing alive" : ""}`);
    this.line.toggleAttribute("pathLength", false);
    const solid = style === "counted" || style === "reader";
    if (now === "added" && solid) put(this.line, "pathLength", "1"); // draws itself in
    if (style !== "table") {
      const end = now === "on" || !now || style === "dangling" ? style : now;
      put(this.line, "marker-end", `url(#${this.uid}-${end})`);
    }
  }
}

/** Arrow heads, one per colour, and the hatching. @param {string} uid */
function definitions(uid) {
  const defs = svg("defs");
  for (const style of ["counted", "uncounted", "reader", "dangling", "added", "removed"]) {
    defs.append(svg("marker", {
      id: `${uid}-${style}`, class: `head ${style}`, viewBox: "0 0 10 10", refX: 9, refY: 5,
      markerWidth: 11, markerHeight: 11, markerUnits: "userSpaceOnUse", orient: "auto",
    }, svg("path", { d: "M0,0.5 10,5 0,9.5 2.5,5z" })));
  }
  defs.append(svg("pattern", {
    id: `${uid}-hatch`, class: "hatching", width: 8, height: 8, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)",
  }, svg("path", { d: "M0,0V8" })));
  return defs;
}

// --- the drawing -----------------------------------------------------------------------------

/** One orientation of the picture, built once; `show` moves it to a state. */
class Drawing {
  /** @param {Picture} picture @param {boolean} tall @param {(id: string) => void} chosen */
  constructor(picture, tall, chosen) {
    const uid = `bpflife-${instances++}`;
    const layout = tall ? picture.tall : picture.wide;
    this.picture = picture;
    this.layout = layout;
    const bands = svg("g", { class: "bands", "aria-hidden": "true" });
    const lines = svg("g", { class: "edges" });
    const nodes = svg("g", { class: "nodes" });
    const marks = svg("g", { class: "over" });
    const top = svg("g", { class: "top" });
    layout.bands.forEach((band, i) => bands.append(...laneHead(band, layout.lanes[i], tall)));
    /** @type {Map<string, NodeView>} */
    this.nodes = new Map();
    for (const data of picture.nodes) {
      const view = new NodeView(data, layout.nodes[data.id], `${uid}-hatch`);
      view.element.addEventListener("click", () => chosen(data.id));
      view.element.addEventListener("pointerenter", () => this.follow(data.id));
      view.element.addEventListener("pointerleave", () => this.follow(null));
      this.nodes.set(data.id, view);
      nodes.append(view.element);
      top.append(view.top);
    }
    this.edges = picture.edges.map((edge, i) => {
      const view = new EdgeView(edge, layout.paths[i], layout.mids[i], layout.labels[i], uid);
      lines.append(view.element);
      marks.append(view.marks);
      return view;
    });
    this.element = svg("svg", {
      viewBox: `0 0 ${layout.width} ${layout.height}`, class: tall ? "drawing tall" : "drawing wide",
      role: "group", "aria-label": "what holds what",
    }, definitions(uid), bands, lines, marks, nodes, top);
    this.element.style.setProperty("--natural", `${layout.width}px`);
  }

  /** @param {number} step */
  show(step) {
    const state = this.picture.states[step];
    const wrong = this.picture.violation;
    const bad = new Set(wrong && wrong.at === step ? wrong.nodes : []);
    const changes = new Map();
    if (step > 0) for (const c of this.picture.steps[step - 1].changes) changes.set(c.node, c);
    for (const [id, view] of this.nodes) view.show(state.nodes[id], bad.has(id), changes.get(id));
    const on = new Set(state.edges);
    const added = new Set(state.added);
    const removed = new Set(state.removed);
    const dangling = new Set(state.dangling);
    this.edges.forEach((edge, i) => {
      edge.show(added.has(i) ? "added" : on.has(i) ? "on" : removed.has(i) ? "removed" : "", dangling.has(i));
    });
  }

  /** The stretch of x that a step changes, as fractions. @param {number} step
   *  @returns {[number, number]|null} */
  touched(step) {
    const { picture, layout } = this;
    const wrong = picture.violation;
    const ids = wrong && wrong.at === step ? [...wrong.nodes]
      : step > 0 ? picture.steps[step - 1].changes.map((change) => change.node) : [];
    if (!ids.length) {
      const { added, removed } = picture.states[step];
      for (const i of [...added, ...removed]) ids.push(picture.edges[i].from, picture.edges[i].to);
    }
    const boxes = ids.map((id) => layout.nodes[id]).filter(Boolean);
    if (!boxes.length) return null;
    const low = Math.min(...boxes.map(([x]) => x));
    const high = Math.max(...boxes.map(([x, , w]) => x + w));
    return [low / layout.width, high / layout.width];
  }

  /** Emphasise a node's edges. @param {string|null} id */
  follow(id) {
    for (const edge of this.edges) {
      const near = id !== null && (edge.data.from === id || edge.data.to === id);
      edge.element.toggleAttribute("data-near", near);
    }
  }

  /** Give a node a halo, or take it from the one that has it. @param {string|null} id */
  mark(id) {
    for (const [name, view] of this.nodes) {
      const chosen = name === id && !view.element.hasAttribute("data-chosen");
      view.element.toggleAttribute("data-chosen", chosen);
      view.element.setAttribute("aria-pressed", String(chosen));
    }
  }
}

/** @param {number[]} band @param {string[]} rows of its heading @param {boolean} tall */
function laneHead([x, y, w, h], rows, tall) {
  const back = tall
    ? svg("rect", { x, y: y - 10, width: w, height: h + 20, rx: 6 })
    : svg("rect", { x: x - 10, y: 2, width: w + 20, height: h - 4, rx: 8 });
  const head = rows.map((row, i) => tall
    ? svg("text", { x: 0, y: 0, transform: `translate(${15 + 13 * i},${y + h / 2}) rotate(-90)`, "text-anchor": "middle" }, row)
    : svg("text", { x: x + w / 2, y: 21, "text-anchor": "middle" }, row));
  return [back, ...head];
}

// --- bar, sentence, legend -------------------------------------------------------------------

/** @typedef {{go: (step: number) => void, toggle: () => void}} Actions */

class Bar {
  /** @param {number} last @param {number|undefined} bad @param {Actions} actions
   *  @param {() => number} now */
  constructor(last, bad, actions, now) {
    this.last = last;
    this.back = [
      button("first", "First step", () => actions.go(0)),
      button("previous", "Previous step", () => actions.go(now() - 1)),
    ];
    this.play = button("play", "Play", actions.toggle);
    this.play.classList.add("play");
    this.forward = [
      button("next", "Next step", () => actions.go(now() + 1)),
      button("last", "Last step", () => actions.go(last)),
    ];
    this.range = /** @type {HTMLInputElement} */ (html("input", {
      type: "range", min: 0, max: last, step: 1, "aria-label": "Step",
    }));
    this.range.addEventListener("input", () => actions.go(Number(this.range.value)));
    const track = html("div", { class: "track" }, this.range);
    if (bad !== undefined && last > 0) {
      const tick = html("span", { class: "tick", title: "the violation", "aria-hidden": "true" });
      tick.style.setProperty("--at", String(bad / last));
      track.append(tick);
    }
    this.place = html("span", { class: "place" });
    this.element = html("div", { class: "bar", role: "group", "aria-label": "steps" },
      ...this.back, this.play, ...this.forward, track, this.place);
  }

  /** @param {number} step */
  show(step) {
    this.range.value = String(step);
    this.range.style.setProperty("--done", `${this.last ? (100 * step) / this.last : 100}%`);
    put(this.range, "aria-valuetext", `step ${step} of ${this.last}`);
    say(this.place, `${step} / ${this.last}`);
    // aria-disabled keeps the focus where it is, disabled would lose it
    for (const b of this.back) put(b, "aria-disabled", String(step === 0));
    for (const b of this.forward) put(b, "aria-disabled", String(step === this.last));
  }

  /** @param {boolean} playing */
  playing(playing) {
    put(this.play, "aria-label", playing ? "Pause" : "Play");
    put(this.play, "title", playing ? "Pause (space)" : "Play (space)");
    this.play.replaceChildren(htmlIcon(playing ? "pause" : "play"));
  }
}

/** @param {string} name @param {string} label @param {() => void} action */
function button(name, label, action) {
  const made = html("button", { type: "button", "aria-label": label, title: label, "data-do": name }, htmlIcon(name));
  made.addEventListener("click", () => {
    if (made.getAttribute("aria-disabled") !== "true") action();
  });
  return made;
}

/** The box that tells the step in words. */
class Words {
  /** @param {Picture} picture */
  constructor(picture) {
    this.picture = picture;
    this.title = html("span", { class: "what" });
    this.rule = html("span", { class: "rule" });
    this.actor = html("span", { class: "actor" });
    this.errno = html("span", { class: "errno" });
    this.call = html("code", { class: "call" });
    this.sentence = html("p", { class: "sentence" });
    this.say = html("p", { class: "say" });
    this.violation = html("p", { class: "violation" });
    this.live = html("div", { class: "unseen", "aria-live": "polite", "aria-atomic": "true" });
    this.element = html("div", { class: "words" },
      html("div", { class: "head" }, this.title, this.errno, this.actor, this.rule),
      this.violation, this.sentence, this.say, this.call, this.live);
  }

  /** @param {number} step */
  show(step) {
    const { steps, violation, about } = this.picture;
    /** @type {StepData} */
    const now = step > 0 ? steps[step - 1]
      : { rule: "", title: "start", actor: "", sentence: about || "The state before the first step.", changes: [] };
    const bad = violation && violation.at === step ? violation : null;
    say(this.title, now.title || now.rule);
    say(this.rule, now.rule);
    say(this.actor, now.internal ? "by the kernel itself" : now.actor ? `by ${now.actor}` : "");
    say(this.call, now.call || "");
    say(this.errno, now.errno ? `fails: ${now.errno}` : "");
    say(this.sentence, now.sentence);
    say(this.say, now.say || "");
    this.violation.replaceChildren(...(bad
      ? [htmlIcon("warning"), html("span", {}, html("b", {}, `Violated: ${bad.property}. `), bad.sentence)] : []));
    this.element.classList.toggle("bad", bad !== null);
    const spoken = [`Step ${step} of ${steps.length}.`, now.sentence, now.errno ? `Fails with ${now.errno}.` : "",
      now.say || "", bad ? `Violated: ${bad.sentence}` : ""];
    say(this.live, spoken.filter(Boolean).join(" "));
  }
}

/** What the signs mean: class, name, meaning. */
const LEGEND = [
  ["line counted", "counted", "a counted reference keeps its target alive"],
  ["line uncounted", "uncounted", "a pointer that is not counted"],
  ["line reader", "reader", "a CPU is inside: not counted, waited for"],
  ["line dangling", "dangling", "keeps nothing alive: its target dies or is freed"],
  ["line table", "table", "entry of a descriptor table"],
  ["line added", "new", "added by this step"],
  ["line removed", "struck", "removed by this step"],
  ["count ref", "refcnt", "how many places hold it; at 0 it dies"],
  ["count user", "usercnt", "how many open files and pins hold a map"],
  ["badge plus", "badge", "what this step did to a count"],
  ["box ghost", "ghost", "not there yet"],
  ["box dying", "hatched", "count is zero, waiting to be freed"],
  ["box freed", "struck name", "freed, closed, exited or removed"],
  ["box violated", "red double", "this is what is wrong"],
];

/** @param {Picture} picture @param {(open: boolean) => void} clicked */
function legend(picture, clicked) {
  const rows = LEGEND.map(([kind, name, meaning]) => html("li", {}, sample(kind), html("b", {}, name), ` ${meaning}`));
  const kinds = new Map(picture.nodes.map((node) => [node.icon, node])); // those of this picture
  const shapes = [...kinds.values()].map((node) => html("li", {}, kindSample(node), node.kind));
  const head = html("summary", {}, "Legend: what the signs mean");
  const made = /** @type {HTMLDetailsElement} */ (html("details", { class: "legend" }, head, html("ul", {}, ...rows),
    html("ul", { class: "kinds" }, ...shapes)));
  head.addEventListener("click", () => clicked(!made.open));
  return made;
}

/** Shape and icon of a kind of node. @param {NodeData} node */
function kindSample(node) {
  return svg("svg", { viewBox: "0 0 46 22", width: 46, height: 22, "aria-hidden": "true" },
    svg("g", { class: "node live", "data-hue": node.hue, transform: "translate(3,1)" },
      svg("path", { class: "border", d: outline(node.shape, 40, node.shape === "drum" ? 17 : 20) }),
      svg("path", { class: "ornament", d: ornament(node.shape, 40) }),
      icon(node.icon, { transform: "translate(13,4) scale(.8)" })));
}

/** @param {string} kind */
function sample(kind) {
  const uid = `bpflife-${instances++}`;
  const holder = svg("svg", { viewBox: "0 0 46 22", width: 46, height: 22, "aria-hidden": "true" }, definitions(uid));
  const [what, style] = kind.split(" ");
  if (what === "line") {
    const changed = style === "added" || style === "removed";
    const path = svg("path", { class: "line", d: "M2,11H42" });
    if (style !== "table") put(path, "marker-end", `url(#${uid}-${style})`);
    const group = svg("g", { class: `edge ${changed ? `counted ${style}` : `${style} on`}` }, path);
    group.append(svg("path", { class: "strike", d: "M-5,-5 5,5M5,-5-5,5", transform: "translate(20,11)" }));
    holder.append(group);
  } else if (what === "count") {
    const host = svg("g", { class: "node live", "data-hue": "green", transform: "translate(1,3)" });
    const pill = svg("g", { class: `count ${style}` }, svg("rect", { rx: 8, width: 24, height: 16, x: 10 }),
      svg("text", { x: 18.5, y: 11.8 }, "2"));
    host.append(pill);
    holder.append(host);
  } else if (what === "badge") {
    holder.append(...[["plus", "+1", -3], ["minus", "−1", 21]].map(([sign, text, x]) => svg("g",
      { transform: `translate(${x},3)` }, svg("g", { class: `flyer still ${sign}` },
        svg("rect", { width: 22, height: 16, rx: 8, x: 3 }),
        svg("text", { y: 12, "text-anchor": "middle", x: 14 }, String(text))))));
  } else {
    const shape = rounded(40, 18, 5);
    holder.append(svg("g", { class: `node ${style}`, "data-hue": "vermilion", transform: "translate(3,2)" },
      svg("path", { class: "body", d: shape }),
      svg("path", { class: "hatch", d: shape, fill: `url(#${uid}-hatch)` }),
      svg("path", { class: "border", d: shape }), svg("path", { class: "inner", d: shape }),
      svg("path", { class: "ornament", d: style === "freed" ? "M8,9H32" : "" })));
  }
  return holder;
}

// --- putting it together ---------------------------------------------------------------------

class Viewer {
  /** @param {Model} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.timer = 0;
    /** @type {boolean|null} */
    this.legendOpen = null; // as the user left it; before that, by the room there is
    this.tall = false;
    this.overflows = false; // measured when the size changes, not at every step
    /** @type {Drawing|null} */
    this.drawing = null;
    this.scroll = html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "picture" });
    this.root = html("div", { class: "bpflife", tabindex: -1 });
    this.root.addEventListener("keydown", (event) => this.key(event));
    // listeners for the focus on a node itself would make it a tab stop, whatever its tabindex
    this.root.addEventListener("focusin", (event) => this.focused(event.target));
    this.root.addEventListener("focusout", () => this.focused(null));
    this.watch = new ResizeObserver(() => this.resized());
    this.watch.observe(el);
    this.fresh();
    el.append(this.root);
    model.on("picture", () => this.fresh());
    model.on("step", () => this.show());
    model.on("playing", () => this.played());
    model.on("theme", () => this.themed());
    model.on("remove", () => this.end());
  }

  get last() {
    return this.model.picture.states.length - 1;
  }

  /** A new trace: build bar, words, drawing and legend. */
  fresh() {
    const picture = this.model.picture;
    this.root.replaceChildren();
    this.drawing = null;
    if (!picture || !picture.states || picture.states.length === 0) return;
    const bad = picture.violation && picture.violation.at;
    this.bar = new Bar(this.last, bad, { go: (n) => this.move(n), toggle: () => this.toggle() }, () => this.model.step);
    this.words = new Words(picture);
    this.root.append(html("div", { class: "upper" }, this.bar.element, this.words.element), this.scroll);
    this.legend = legend(picture, (open) => { this.legendOpen = open; });
    this.root.append(this.legend);
    this.themed();
    this.resized();
    this.draw();
    this.played();
  }

  draw() {
    this.drawing = new Drawing(this.model.picture, this.tall, (id) => this.chosen(id));
    this.scroll.replaceChildren(this.drawing.element);
    this.overflows = this.scroll.scrollWidth > this.scroll.clientWidth + 2;
    this.show();
  }

  resized() {
    const width = this.root.clientWidth;
    if (!width) return;
    const picture = this.model.picture;
    const tall = width < Math.max(NARROW, picture && picture.wide ? SMALLEST * picture.wide.width : 0);
    this.root.classList.toggle("narrow", width < NARROW);
    if (this.legend) this.legend.open = this.legendOpen === null ? width >= ROOMY : this.legendOpen;
    this.root.classList.toggle("stacked", tall);
    if (tall !== this.tall) {
      this.tall = tall;
      if (this.drawing) this.draw();
    }
    this.overflows = this.scroll.scrollWidth > this.scroll.clientWidth + 2;
  }

  /** Where the picture is wider than its place, bring what a step touches into view.
   *  @param {[number, number]|null} range fractions of the picture's width */
  reveal(range) {
    if (!range) return;
    const { scrollWidth, clientWidth, scrollLeft } = this.scroll;
    const [left, right] = [range[0] * scrollWidth, range[1] * scrollWidth];
    if (left >= scrollLeft && right <= scrollLeft + clientWidth) return;
    this.scroll.scrollLeft = Math.min((left + right - clientWidth) / 2, left);
  }

  show() {
    if (!this.drawing || !this.bar || !this.words) return;
    const step = Math.min(Math.max(this.model.step || 0, 0), this.last);
    this.drawing.show(step);
    if (this.overflows) this.reveal(this.drawing.touched(step));
    this.bar.show(step);
    this.words.show(step);
  }

  /** @param {number} step */
  go(step) {
    const to = Math.min(Math.max(step, 0), this.last);
    if (to !== this.model.step) this.model.step = to; // tells `show` through "step"
  }

  /** The user goes somewhere, and wants to stay there. @param {number} step */
  move(step) {
    if (this.model.playing) this.model.playing = false;
    this.go(step);
  }

  toggle() {
    if (!this.model.playing && this.model.step >= this.last) this.go(0);
    this.model.playing = !this.model.playing;
  }

  played() {
    const playing = Boolean(this.model.playing);
    if (this.bar) this.bar.playing(playing);
    clearInterval(this.timer);
    if (playing) {
      this.timer = setInterval(() => {
        this.go(this.model.step + 1);
        if (this.model.step >= this.last) this.model.playing = false;
      }, PLAY_MS);
    }
  }

  themed() {
    const theme = this.model.theme;
    this.root.dataset.theme = theme === "light" || theme === "dark" ? theme : "auto";
  }

  /** Emphasise the edges of the node that has the focus. @param {EventTarget|null} target */
  focused(target) {
    const node = target instanceof Element ? target.closest(".node") : null;
    if (this.drawing) this.drawing.follow(node ? node.getAttribute("data-id") : null);
  }

  /** @param {string} id */
  chosen(id) {
    if (this.drawing) this.drawing.mark(id);
    if (typeof this.model.send_msg === "function") this.model.send_msg({ node: id });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = /** @type {Element} */ (event.target);
    const pressable = target.closest("button, summary, [role=button]");
    if (pressable && (event.key === " " || event.key === "Enter")) {
      if (!pressable.matches(".node")) return; // the browser presses it
      pressable.dispatchEvent(new MouseEvent("click"));
      event.preventDefault();
      return;
    }
    const step = this.model.step;
    const moves = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: this.last };
    if (event.key === " ") this.toggle();
    else if (event.key === "Escape" && this.drawing) this.drawing.mark(null);
    else if (event.key in moves) this.move(moves[/** @type {keyof moves} */ (event.key)]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  end() {
    clearInterval(this.timer);
    this.watch.disconnect();
  }
}

/** @param {{model: Model, el: HTMLElement}} place */
export function render({ model, el }) {
  new Viewer(model, el);
}

/** A model for a page without a server. @param {Picture} picture @returns {Model} */
export function standalone(picture) {
  /** @type {Map<string, (() => void)[]>} */
  const reactions = new Map();
  /** @type {Object<string, any>} */
  const values = { picture, step: 0, playing: false, theme: "auto" };
  const model = { on: (/** @type {string} */ name, /** @type {() => void} */ react) => {
    reactions.set(name, [...(reactions.get(name) || []), react]);
  } };
  for (const name of Object.keys(values)) {
    Object.defineProperty(model, name, {
      get: () => values[name],
      set: (value) => {
        if (values[name] === value) return;
        values[name] = value;
        for (const react of reactions.get(name) || []) react();
      },
    });
  }
  return /** @type {Model} */ (/** @type {unknown} */ (model));
}
