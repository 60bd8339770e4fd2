// Draws the figures, follows the theme, fills the table. Texts from files reach the page as text nodes or escaped.
const payload = JSON.parse(document.getElementById("payload").textContent);
const root = document.documentElement;
const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// What a figure's parts are called in Bokeh, and the colour of the page that each takes.
const themed = {
  axis_label_text_color: "--ink", major_label_text_color: "--ink", label_text_color: "--ink",
  axis_line_color: "--line", major_tick_line_color: "--line", grid_line_color: "--grid",
};

function paint(models) {
  for (const model of models) {
    for (const [name, variable] of Object.entries(themed)) {
      if (name in model.properties && model[name] !== null) model[name] = color(variable);
    }
    if (model.tags?.includes("ink")) model.text_color = color("--ink");
  }
}

const documents = new Map();

// Bokeh is run when the first figure comes into view: the table need not wait for it.
function loadFigures() {
  if (window.Bokeh) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("figure-library").textContent;
  document.head.append(script);
}

async function draw(place) {
  place.dataset.drawn = "yes";
  loadFigures();
  const { Document } = Bokeh.require("document");
  const index = place.dataset.index;
  const text = document.getElementById(`figure-${place.dataset.figure}-${index}`).textContent;  // read when looked at
  const { items, legend, alt, note } = JSON.parse(text);
  const made = items.map((item) => Document.from_json(item.doc));
  made.forEach((one) => paint(one.all_models));  // before anything is drawn: painting twice takes twice as long
  documents.set(place, made);
  const frames = made.map(() => document.createElement("div"));
  place.replaceChildren(...frames);
  place.setAttribute("aria-label", alt);
  fillLegend(place, legend);
  document.querySelector(`[data-note="${place.dataset.figure}"]`).textContent = note;
  await Promise.all(made.map((one, number) => Bokeh.embed.add_document_standalone(one, frames[number])));
  place.dataset.shown = index;
  performance.mark(`figure drawn: ${place.dataset.figure}`);
}

// Symbols of the legend, in a box of 22 by 12.
const shapes = {
  swatch: [["rect", { x: 5, y: 0.5, width: 11, height: 11, rx: 3 }]],
  line: [["path", { d: "M0 6H22", "stroke-width": 2.5 }]],
  dashed: [["path", { d: "M0 6H22", "stroke-width": 2.5, "stroke-dasharray": "6 3" }]],
  dotted: [["path", { d: "M0 6H22", "stroke-width": 2.5, "stroke-dasharray": "2 3" }]],
  circle: [["circle", { cx: 11, cy: 6, r: 4 }]],
  square: [["rect", { x: 7, y: 2, width: 8, height: 8 }]],
  triangle: [["path", { d: "M11 1.5L16 10.5H6Z" }]],
  diamond: [["path", { d: "M11 0.5L16 6L11 11.5L6 6Z" }]],
  x: [["path", { d: "M7 2L15 10M15 2L7 10" }]],
};

function symbol({ color: tint, symbol: name }) {
  const isHollow = name.startsWith("hollow ");
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  image.setAttribute("viewBox", "0 0 22 12");
  image.setAttribute("aria-hidden", "true");
  for (const [kind, attributes] of shapes[name.replace("hollow ", "")] ?? shapes.swatch) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", kind);
    const look = { fill: isHollow || kind === "path" && !/Z/.test(attributes.d) ? "none" : tint, stroke: tint };
    for (const [key, value] of Object.entries({ ...look, ...attributes })) shape.setAttribute(key, value);
    image.append(shape);
  }
  return image;
}

const labelsOf = (mark) => (mark.tags ?? []).filter((tag) => tag !== "ink").map((tag) => (tag instanceof Map ? tag.get("label") : tag.label));

// A mark is shown unless one of its entries is switched off.
function fillLegend(place, legend) {
  const off = new Set();
  const marks = () => documents.get(place).flatMap((one) => [...one.all_models]).filter((one) => labelsOf(one).length);
  const buttons = legend.map((entry) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(symbol(entry), entry.label);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      off.delete(entry.label) || off.add(entry.label);
      button.setAttribute("aria-pressed", String(!off.has(entry.label)));
      for (const mark of marks()) mark.visible = !labelsOf(mark).some((label) => off.has(label));
    });
    return button;
  });
  document.querySelector(`[data-legend="${place.dataset.figure}"]`).replaceChildren(...buttons);
}

const places = [...document.querySelectorAll("[data-figure]")];
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting && !one.target.dataset.drawn)) {
    draw(entry.target);
  }
}, { rootMargin: "200px" });
places.forEach((place) => watcher.observe(place));

// The rest when nothing else is to be done, one at a time: whoever prints the page has every figure.
const whenIdle = window.requestIdleCallback ?? ((run) => setTimeout(run, 200));
async function drawRest() {
  const next = places.find((place) => !place.dataset.drawn);
  if (!next) return;
  await draw(next);
  whenIdle(drawRest);
}

const repaint = () => [...documents.values()].flat().forEach((one) => paint(one.all_models));

for (const chooser of document.querySelectorAll("[data-chooser]")) {
  chooser.addEventListener("change", () => {
    const place = document.querySelector(`[data-figure="${chooser.dataset.chooser}"]`);
    place.dataset.index = chooser.value;
    draw(place);
  });
}

// Where a table hides columns, its frame says on which side.
function watchScrolling(frame) {
  const scroll = frame.querySelector(".scroll");
  const look = () => {
    frame.toggleAttribute("data-more-left", scroll.scrollLeft > 1);
    frame.toggleAttribute("data-more-right", scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 1);
  };
  scroll.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(scroll);
  new ResizeObserver(look).observe(scroll.firstElementChild);
}
const frames = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    frames.unobserve(entry.target);
    watchScrolling(entry.target);
  }
}, { rootMargin: "200px" });
document.querySelectorAll(".frame").forEach((frame) => frames.observe(frame));

// The table alone scrolls sideways; what is above and below it stays.
function frameTable(place) {
  const scroll = place.parentElement;
  const frame = scroll.parentElement;
  scroll.classList.add("scroll");
  frame.classList.add("frame");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "All rows");
  watchScrolling(frame);
}

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);
let isPrinting = false;
function follow() {
  if (isPrinting) return;
  root.classList.toggle("dark", isDark());
  repaint();
}
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  follow();
});
systemIsDark.addEventListener("change", follow);
root.classList.toggle("dark", isDark());

// Paper is narrower than the screen, and canvases are not drawn again for it: they keep size and colours, and shrink.
const paperWidth = 690;
addEventListener("beforeprint", () => {
  isPrinting = true;
  for (const place of places) {
    [...place.children].forEach((frame) => { frame.style.width = `${frame.clientWidth}px`; frame.style.flex = "none"; });
    place.style.setProperty("--shrink", Math.min(1, paperWidth / place.clientWidth));
    place.style.background = color("--paper");
    place.dataset.printed = "yes";
  }
});
addEventListener("afterprint", () => {
  isPrinting = false;
  for (const place of places) {
    [...place.children].forEach((frame) => frame.removeAttribute("style"));
    place.removeAttribute("style");
    delete place.dataset.printed;
  }
  follow();
});

const digits = (value) => Number(value.toPrecision(3)).toString();
function seconds(value) {
  const [size, unit] = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]].find(([one]) => value >= one) ?? [1e-9, "ns"];
  return `${digits(value / size)} ${unit}`;
}
const grouped = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : digits(value));
// One entry for each member of kinetics.tables.quantity.Quantity that is a number.
const shown = {
  count: grouped,
  number: grouped,
  tokens: (value) => (value >= 1024 && value % 1024 === 0 ? `${value / 1024}k` : value.toString()),
  seconds,
  bytes: (value) => {
    const power = [4, 3, 2, 1].find((one) => value >= 2 ** (10 * one));
    return power ? `${digits(value / 2 ** (10 * power))} ${["KiB", "MiB", "GiB", "TiB"][power - 1]}` : `${value} B`;
  },
  percent: (value) => `${(100 * value).toFixed(0)} %`,
  fine_percent: (value) => (100 * value).toFixed(1),
  ratio: (value) => value.toFixed(2),
  time_ratio: (value) => value.toFixed(3),
  speedup: (value) => `${value.toFixed(2)}x`,
  joules: (value) => digits(1e3 * value),
  gb_per_s: (value) => (value / 1e9).toFixed(1),
  flop: (value) => digits(value / 1e9),
  tflop_per_s: (value) => digits(value / 1e12),
  tokens_per_s: digits,
  error: (value) => value.toExponential(1),
};

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => String(text).replace(/[&<>"']/g, (char) => escapes[char]);

function render(kind) {
  return (value, purpose) => {
    if (value === null || value === undefined) return purpose === "display" ? "–" : purpose === "sort" ? -1 : "";
    if (kind === "text" || kind === "flag") return purpose === "display" ? escaped(value) : value;
    return purpose === "display" ? shown[kind](value) : value;
  };
}

function fillFilters(table) {
  for (const select of document.querySelectorAll("[data-filter]")) {
    const column = Number(select.dataset.filter);
    const values = [...new Set(payload.rows.map((row) => row[column]).filter((value) => value !== null))];
    values.sort((one, other) => (typeof one === "number" ? one - other : one.localeCompare(other)));
    const name = shown[payload.columns[column].kind] ?? String;
    values.forEach((value) => select.add(new Option(name(value), value)));
    select.addEventListener("change", () => {
      table.column(column).search(select.value ? (data) => String(data) === select.value : "").draw();
    });
  }
}

async function fillTable(place) {
  const library = JSON.parse(document.getElementById("table-library").textContent);
  const { default: DataTable } = await import(`data:text/javascript;base64,${library}`);
  const table = new DataTable(place, {
    data: payload.rows,
    columns: payload.columns.map(({ title, kind }) => ({
      title: escaped(title), render: render(kind), className: kind in shown ? "number" : "",
      type: kind in shown ? "num" : "string",
    })),
    deferRender: true,
    autoWidth: false,
    orderClasses: false,
    order: [],
    pageLength: 25,
    lengthMenu: [25, 100, 500],
    language: { search: "search" },
  });
  frameTable(place);
  fillFilters(table);
  root.dataset.table = "ready";
  performance.mark("table ready");
  whenIdle(drawRest);
}

const place = document.getElementById("table");
if (place) requestAnimationFrame(() => setTimeout(() => fillTable(place), 0));
else whenIdle(drawRest);
