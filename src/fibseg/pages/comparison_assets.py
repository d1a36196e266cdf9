"""Style and script of the page of a comparison, which stand in the page itself."""

from __future__ import annotations

# Style and script have no dependency: the page opens from a disk, years later, without a network.
COMPARISON_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .7rem; border-bottom: 1px solid #8885; text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid; }
.scroll, figure { overflow-x: auto; } figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; }
a { color: inherit; text-decoration-style: dotted; }
nav a { margin-right: 1rem; }
summary { cursor: pointer; font-weight: 600; padding: .5rem 0; }
.note { opacity: .75; font-size: .9em; margin: 0; }
.view { position: relative; display: inline-block; max-width: 100%; }
.view img { display: block; max-width: 100%; image-rendering: pixelated; }
.view img.layer { position: absolute; inset: 0; width: 100%; height: 100%; }
.controls { display: flex; gap: 1rem; flex-wrap: wrap; margin: .5rem 0; }
.controls input { width: 20rem; }
"""

# Cells are compared as numbers where both begin with one, as .937 ± .009, and else as text.
COMPARISON_SCRIPT = """
addEventListener('beforeprint', () => {
  for (const part of document.querySelectorAll('details')) part.open = true;
});
for (const table of document.querySelectorAll('table.sortable')) {
  const buttons = table.querySelectorAll('th button');
  buttons.forEach((button, column) => button.addEventListener('click', () => {
    const head = button.closest('th');
    const up = head.getAttribute('aria-sort') !== 'ascending';
    table.querySelectorAll('th').forEach(cell => cell.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const body = table.tBodies[0];
    const cell = row => row.cells[column].textContent;
    const order = (a, b) => {
      const x = parseFloat(cell(a));
      const y = parseFloat(cell(b));
      return isNaN(x) || isNaN(y) ? cell(a).localeCompare(cell(b)) : x - y;
    };
    const sorted = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
    sorted.forEach(row => body.append(row));
  }));
}
for (const box of document.querySelectorAll('.gallery')) {
  const pictures = JSON.parse(box.querySelector('script').textContent);
  const [slice, left, right] = box.querySelectorAll('select');
  const swipe = box.querySelector('input');
  const [image, under, over] = box.querySelectorAll('img');
  const show = () => {
    const picture = pictures[slice.value];
    image.src = picture.image;
    under.src = picture.layers[left.value] || '';
    over.src = picture.layers[right.value] || '';
    under.hidden = !picture.layers[left.value];
    over.hidden = !picture.layers[right.value];
    under.style.clipPath = `inset(0 ${100 - swipe.value}% 0 0)`;
    over.style.clipPath = `inset(0 0 0 ${swipe.value}%)`;
    const place = slice.selectedOptions[0].textContent;
    image.alt = `${place}: left ${left.value}, right ${right.value}`;
  };
  for (const control of [slice, left, right, swipe]) control.addEventListener('input', show);
  show();
}
"""
