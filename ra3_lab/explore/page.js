// Driver of an exported page: controls and clicks choose one of the views that were drawn in advance.
const data = JSON.parse(document.getElementById("data").textContent);
const inputs = [...document.querySelectorAll("[data-axis]")];
const head = document.getElementById("head"), tail = document.getElementById("tail");
const plot = document.getElementById("figure"), missing = document.getElementById("missing");
const axes = Object.fromEntries(data.axes.map((axis) => [axis.name, axis]));
const clicks = { ...data.clicks };

// As the drawing functions have it: a number past the last one that there is to click is the last.
function there(name, value) {
  const last = [...head.querySelectorAll(`[data-set^="${CSS.escape(name)}="]`)].at(-1)?.dataset.set.slice(name.length + 1);
  return Number(value) > Number(last) ? last : value;
}

function show() {
  const view = data.views[data.axes.reduce((sum, axis) => sum * axis.values.length + axis.at, 0)];
  fill(head, view.head);
  fill(tail, view.tail);
  for (const [name, value] of Object.entries(clicks)) if (!axes[name]) choose(head, name, there(name, value));
  plot.hidden = !view.figure;
  if (view.figure) {
    plot.setAttribute("aria-label", head.querySelector(".finding").textContent);
    // When the window is resized plotly deletes the height from the layout and takes that of the element.
    view.height ??= view.figure.layout.height;
    plot.style.height = `${view.height}px`;
    Plotly.react(plot, view.figure.data, view.figure.layout, data.config);
  }
  for (const input of inputs) {
    if (!input.dataset.readings) continue;
    const reading = JSON.parse(input.dataset.readings)[Number(input.value)];
    input.setAttribute("aria-valuetext", reading);
    input.nextElementSibling.textContent = reading;
  }
}

function read() {
  for (const input of inputs) axes[input.dataset.axis].at = Number(input.value);
  missing.textContent = "";
  show();
}

document.querySelector(".controls")?.addEventListener("submit", (event) => event.preventDefault());
for (const input of inputs) input.addEventListener("input", read);
// Back and reload put fields where the reader had left them, after this has run: the drawing follows.
addEventListener("pageshow", () => {
  if (inputs.some((input) => axes[input.dataset.axis].at !== Number(input.value))) read();
});
wire(head, (name, value) => {
  clicks[name] = value;
  if (!axes[name]) return;
  const at = axes[name].values.indexOf(value);
  missing.textContent = at < 0 ? "This page holds no view of that place; the notebook has them all." : "";
  if (at >= 0) axes[name].at = at;
  show();
});
show();
