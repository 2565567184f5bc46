// What a click does, shared by the notebook widget and by exported pages. Elements marked data-set="name=value" set
// that control; elements marked data-when="name=value" are shown while it has that value. The marked elements are
// buttons, so Tab, Enter and Space work by themselves; arrow keys go to the next one that sets the same control.
function wire(root, onSet) {
  root.addEventListener("click", (event) => {
    const target = event.target.closest("[data-set]");
    if (!target || !root.contains(target)) return;
    const at = target.dataset.set.indexOf("=");
    const name = target.dataset.set.slice(0, at), value = target.dataset.set.slice(at + 1);
    choose(root, name, value);
    onSet(name, value);
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const target = event.target.closest("[data-set]");
    if (!step || !target) return;
    const name = target.dataset.set.slice(0, target.dataset.set.indexOf("="));
    const all = [...root.querySelectorAll(`[data-set^="${name}="]`)];
    const next = all[all.indexOf(target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

function choose(root, name, value) {
  for (const one of root.querySelectorAll(`[data-when^="${name}="]`)) one.hidden = one.dataset.when !== `${name}=${value}`;
  for (const one of root.querySelectorAll(`[data-set^="${name}="]`))
    one.setAttribute("aria-pressed", String(one.dataset.set === `${name}=${value}`));
}

// New contents without losing the reader's place: open tables stay open, the focused button keeps the focus.
function fill(root, html) {
  const open = [...root.querySelectorAll("details")].map((one) => one.open);
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.set : undefined;
  root.innerHTML = html;
  root.querySelectorAll("details").forEach((one, i) => (one.open = Boolean(open[i])));
  if (focused) root.querySelector(`[data-set="${CSS.escape(focused)}"]`)?.focus();
}
