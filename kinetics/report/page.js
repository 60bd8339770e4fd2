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
  }
}

const documents = new Map();

async function draw(place) {
  place.dataset.drawn = "yes";
  const { Document } = Bokeh.require("document");
  const items = payload.figures[place.dataset.figure][Number(place.dataset.index)];
  const made = items.map((item) => Document.from_json(structuredClone(item.doc)));
  made.forEach((one) => paint(one.all_models));  // before anything is drawn: painting twice takes twice as long
  documents.set(place, made);
  const frames = made.map(() => document.createElement("div"));
  place.replaceChildren(...frames);
  await Promise.all(made.map((one, index) => Bokeh.embed.add_document_standalone(one, frames[index])));
  place.dataset.shown = place.dataset.index;
  performance.mark("figure drawn");
}

const places = [...document.querySelectorAll("[data-figure]")];
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting && !one.target.dataset.drawn)) {
    draw(entry.target);
  }
}, { rootMargin: "200px" });
places.forEach((place) => watcher.observe(place));

const repaint = () => [...documents.values()].flat().forEach((one) => paint(one.all_models));

for (const chooser of document.querySelectorAll("[data-chooser]")) {
  chooser.addEventListener("change", () => {
    const place = document.querySelector(`[data-figure="${chooser.dataset.chooser}"]`);
    place.dataset.index = chooser.value;
    draw(place);
  });
}

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);
const follow = () => { root.classList.toggle("dark", isDark()); repaint(); };
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  follow();
});
systemIsDark.addEventListener("change", follow);
root.classList.toggle("dark", isDark());

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
  fillFilters(table);
  root.dataset.table = "ready";
  performance.mark("table ready");
}

const place = document.getElementById("table");
if (place) requestAnimationFrame(() => setTimeout(() => fillTable(place), 0));
