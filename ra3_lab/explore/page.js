// Driver of an exported page: the controls choose one of the views that were drawn in advance.
const data = JSON.parse(document.getElementById("data").textContent);
const inputs = [...document.querySelectorAll(".controls input, .controls select")];
const head = document.getElementById("head"), tail = document.getElementById("tail");
const plot = document.getElementById("figure");
const clicks = { ...data.clicks };

function show() {
  const at = inputs.reduce((sum, input, i) => sum * data.sizes[i] + Number(input.value), 0);
  const view = data.views[at];
  fill(head, view.head);
  fill(tail, view.tail);
  for (const [name, value] of Object.entries(clicks)) {
    if (head.querySelector(`[data-set="${name}=${CSS.escape(value)}"]`)) choose(head, name, value);
  }
  plot.hidden = !view.figure;
  if (view.figure) {
    plot.setAttribute("aria-label", head.querySelector(".finding").textContent);
    Plotly.react(plot, view.figure.data, view.figure.layout, data.config);
  }
  for (const input of inputs) {
    if (!input.dataset.readings) continue;
    const reading = JSON.parse(input.dataset.readings)[Number(input.value)];
    input.setAttribute("aria-valuetext", reading);
    input.nextElementSibling.textContent = reading;
  }
}

document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
for (const input of inputs) input.addEventListener("input", show);
wire(head, (name, value) => (clicks[name] = value));
show();
